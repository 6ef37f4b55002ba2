"""Search strategies: one file each in this folder, or an entry point of the group `tunefleet.strategies`.

A strategy is a named recipe, searcher x scheduler. The plug-in IS its configuration: its fields are its YAML keys.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from pydantic import Field

from trainables.spec import Frozen, Goal, Objective, Params
from tuning.outcome import Exploit
from tuning.space import Space

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import SearchAlgorithm, Searcher

    from tuning.tracking.online_sweep import OnlineSweep

__all__ = ["Plan", "PlanShape", "PlannedShape", "Population", "Strategy", "UserStudy", "find_strategies"]


class Population(Protocol):
    """All that a study needs of a scheduler whose trials take over from each other, and may wait for each other.

    Such a strategy names its scheduler twice, as `Plan.scheduler` and as `Plan.population`, and starts all its trials
    at the beginning. What its scheduler decides by has to survive a crash: the plan's searcher saves and restores it,
    since Tune saves the searcher in one step with the trials, and the scheduler not at all. What it needs of Tune's
    private parts stands in `tuning.tune_compat.population`. `tuning.strategies.pbt` has two: one of trials that wait,
    and one of trials that never do. A package of its own can be one, too.
    """

    def limit(self, trials: int | None) -> None:
        """Let at most `trials` train at a time from now on; None: as many as the cluster holds.

        Called at the start, and again when the cluster grows or shrinks. Tune's own limit stays unset: it would wait
        for the first members to finish before it starts others.
        """

    def report_exploits_to(self, listener: Callable[[str, Exploit], None]) -> None:
        """Call `listener` with (trial id, exploit) for each exploit from now on.

        Called once, before the study starts. After a crash the same exploit may be reported again.
        """

    def spare_slots(self) -> int:
        """Returns the number of slots that trials hold while they wait for others, and that another study may have.

        Called often. A paused trial is restored to go on, so that it should not be for a moment's wait.
        """

    def give_slot(self) -> bool:
        """Pause one of these trials; another study starts one in its slot. The trial goes on when a slot is free.

        Called only if there is one. Returns False if that has become impossible, as its process has died.
        """

    def pinned(self) -> set[str]:
        """Paths of the checkpoints that a trial would be started from now, such as a donor's.

        They are not deleted, also not those that were pinned at one of Tune's last snapshots.
        """

    def turns(self, slots: int) -> str | None:
        """A line for the user if the trials do not fill `slots` evenly; None if they do."""


@dataclass(frozen=True)
class Plan:
    """The objects with which Tune runs one study. Made fresh for each; never shared."""

    scheduler: TrialScheduler
    trials: int | None  # exactly how many, but for what the experiment's budget cuts; None: until that is spent
    param_space: Mapping[str, Any] = field(default_factory=dict)  # empty when the searcher proposes every value
    searcher: Searcher | SearchAlgorithm | None = None
    most_trials: int | None = None  # without a number of trials: the space has no more configurations
    weights_only: bool = False  # no trial is paused or cloned: checkpoints are for scoring and need no optimizer state
    population: Population | None = None  # the scheduler, where it is one of trials that take over from each other
    online: OnlineSweep | None = None  # the server that proposes, and ends the search


class PlanShape(Protocol):
    """The parts of a plan that the size of a study's checkpoints depends on; known without making the plan."""

    @property
    def trials(self) -> int | None:
        """See `Plan`."""

    @property
    def weights_only(self) -> bool:
        """See `Plan`."""


class PlannedShape(NamedTuple):
    """The shape of a plan that is not made yet: making it imports Ray."""

    trials: int | None
    weights_only: bool


class UserStudy(NamedTuple):
    """An Optuna study of the user's own."""

    name: str
    storage: str | None  # the URL of its database, without a password; None: an environment variable has it


class Strategy(Frozen, ABC):
    """A search strategy: a plug-in whose fields are its YAML keys.

    The runner calls `refusals` once while the spec is read, then `plan` or `plan_cut` once per study. Neither may touch
    Ray's runtime, the store, the network or a global random state.
    """

    kind: ClassVar[str]  # the plug-in's name in YAML; the file's name
    weights_only: ClassVar[bool] = False  # as that of its plans, where it is the same for all; see `Plan`
    decides_on_the_way: ClassVar[bool] = False  # by reports before a trial's last: it stops or clones trials
    several_objectives: ClassVar[bool] = False  # it looks for a front: `plan_several` is called where there are several
    # False: it trains values that it brings, and holds no more slots than it has trials. No budget ends it, and a
    # space that is a function is not called.
    searches: ClassVar[bool] = True
    when_cut: ClassVar[str] = ""  # what `plan_cut` does differently, in words; "": nothing
    origin: ClassVar[str] = "its own proposal"  # where its trials' first values come from, after the random ones
    # What it makes use of, among points, priors and start_from. Points and priors: its first trials, or members, are
    # those of `tuning.space.Draws`. start_from: where `learns_after` says that it has a model of the scores, that knows
    # the trials of `space.knowledge` before it proposes anything; without one the best of them are among the points.
    uses: ClassVar[tuple[str, ...]] = ()

    label: str | None = Field(None, description="its name in tables; needed when a kind stands twice")
    space: Space | None = Field(None, description="replaces the experiment's space for this strategy")
    informed: bool = Field(
        True,
        description="false: it makes no use of the experiment's points, priors and start_from, as a control",
        exclude_if=bool,  # specs of before this key keep their digests
    )

    @property
    def name(self) -> str:
        """The label, or the kind without one."""
        return self.label or self.kind

    @property
    def own_values(self) -> Params:
        """The values that it brings, by tunable name; they are checked as those of a space."""
        return {}

    @property
    def user_study(self) -> UserStudy | None:
        """The Optuna study whose trials it learns from, and to which its own are added; None: there is none.

        The searcher of its plans has a method `observe(params, score)`, called before the first proposal for each.
        """
        return None

    def without_user_study(self) -> Strategy:
        """This strategy, knowing nothing of that study: for trials that are no real ones."""
        return self

    def space_in(self, space: Space, *, own: bool) -> Space:
        """Returns the part of the experiment's `space` that it searches, if it has no space of its own.

        Args:
            own: the trainable is the user's own, so defaults are not known.
        """
        return space

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Returns what cannot work, as (path below the strategy or `space.<name>`, rule with the next step)."""
        return []

    def install_command(self) -> str:
        """The command that installs what it needs and is not here; "" if all is there. Asked before a run."""
        return ""

    def changed_in_flight(self, space: Space) -> tuple[str, ...]:
        """The names of `space` whose values it changes in the middle of a trial: each must be able to."""
        return ()

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """Passes over the training split that its trials take together; None: that is not known beforehand."""
        return None

    @property
    def may_repeat_epochs(self) -> bool:
        """True if a trial may go back to an earlier epoch of another, so that no number of epochs is a bound."""
        return False

    def planned_trials(self, space: Space) -> int | None:
        """The number of trials that it starts at most; None: that is not known beforehand."""
        return None

    def shape(self, space: Space) -> PlanShape:
        """The shape of its plan over `space`, on which the size of its checkpoints depends."""
        return PlannedShape(self.planned_trials(space), self.weights_only)

    def first_draws(self, space: Space) -> int:
        """The number of its first trials that are those of `tuning.space.Draws`: known points, then random draws.

        For one seed they are the same ones in every strategy that has such.
        """
        return 0

    def learns_after(self, space: Space) -> int | None:
        """The number of trials after which a model of the scores proposes; None: it has none."""
        return None

    def outline(self, space: Space) -> str:
        """A line for `tunefleet validate` about its trials, such as how many values stand for a range; "" for none."""
        return ""

    @abstractmethod
    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The searcher and scheduler for one study.

        Args:
            space: what to search; fixed dimensions included.
            objective: the scheduler and the searcher see it under `metrics/<metric>`.
            epochs: the full budget of one trial; reports carry `epoch`, use it as the time attribute.
            seed: of all random draws. Same arguments, same proposals.
        """

    def plan_cut(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """Plans as `plan` does, for a study that its budget may end early; differs where `plan` has a fixed order."""
        return self.plan(space, objective, epochs, seed)

    def plan_several(self, space: Space, goal: Goal, epochs: float, seed: int, *, cut: bool = False) -> Plan:
        """Plans a study of several objectives, if `several_objectives`; else it follows their weighted sum by `plan`.

        The default is for strategies that read no score: they plan as for the first objective.

        Args:
            goal: the scheduler and the searcher see its metrics under `metrics/<metric>`.
            cut: the budget may end the study early.
        """
        return (self.plan_cut if cut else self.plan)(space, goal.objectives[0], epochs, seed)


@cache
def find_strategies() -> Mapping[str, type[Strategy]]:
    """Every strategy by kind: the files of this folder, then the installed entry points.

    Raises:
        ValueError: two of them claim one kind.
    """
    found: dict[str, type[Strategy]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for candidate in vars(importlib.import_module(f"{__name__}.{module}")).values():
            if isinstance(candidate, type) and issubclass(candidate, Strategy) and "kind" in vars(candidate):
                _add(found, candidate)
    for point in entry_points(group="tunefleet.strategies"):
        _add(found, point.load())
    return found


def _add(found: dict[str, type[Strategy]], candidate: type[Strategy]) -> None:
    other = found.setdefault(candidate.kind, candidate)
    if other is not candidate:
        raise ValueError(
            f"strategy kind {candidate.kind!r} is claimed by {other.__module__} and {candidate.__module__}; rename one"
        )
