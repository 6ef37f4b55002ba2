"""Samplers: what proposes the values of trials, one by one. Imports no Ray, no HyperOpt and no Optuna by itself.

A sampler may learn from scores, and knows nothing of what stops trials early. A strategy makes one of its YAML keys;
the sampler makes the Tune searcher of a study.

For one seed the first proposals are the same ones, whoever makes them: those of `tuning.space.Draws`, none twice, known
points first. A model starts from the first of them, and a population of PBT begins with them, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from trainables.spec import Goal, Objective
from tuning.outcome.attributes import RANDOM_DRAW
from tuning.space import FunctionSpace, Space
from tuning.space.dimensions import Choice
from tuning.space.knowledge import KNOWLEDGE

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

OptunaName: TypeAlias = Literal["tpe", "gp", "nsga2", "cmaes", "qmc"]
SamplerName: TypeAlias = Literal["random", "hyperopt", OptunaName]
OPTUNA_TITLES: dict[OptunaName, str] = {
    "tpe": "Optuna's TPE",
    "gp": "a Gaussian process",
    "nsga2": "NSGA-II",
    "cmaes": "CMA-ES",
    "qmc": "a quasi-random sequence",
}
REQUIRES: dict[str, tuple[str, ...]] = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",), "qmc": ("scipy",)}


class Sampler(ABC):
    """A sampler with its settings."""

    origin: ClassVar[str]  # as `Strategy.origin`
    uses: ClassVar[tuple[str, ...]] = KNOWLEDGE  # as `Strategy.uses`

    @property
    @abstractmethod
    def draws(self) -> int | None:
        """The number of its first proposals that are those of `Draws`; None: all are."""

    @property
    def title(self) -> str:
        """The name of what proposes after the draws; "" if nothing does."""
        return ""

    def refusals(self, space: Space) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search; as `Strategy.refusals`."""
        if space.searched:
            return []
        return [("space", "every value is fixed, there is nothing to propose; give at least one range or choice")]

    def first_of(self, space: Space) -> int | None:
        """The number of its first proposals that are those of `Draws`, by what is known of the space; None: all are.

        Known points are among them. A model knows earlier trials from the beginning: as many draws are not needed.
        """
        known = space.knowledge
        return None if self.draws is None else max(len(known.points), self.draws - len(known.trials))

    @abstractmethod
    def searcher(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Searcher:
        """Makes the searcher of one study. Its saved state carries the scheduler's, which Tune does not save."""

    @property
    def several_objectives(self) -> bool:
        """See `Strategy.several_objectives`."""
        return False

    def front_searcher(self, space: Space, goal: Goal, seed: int, scheduler: TrialScheduler) -> Searcher:
        """Makes the searcher of a study of several objectives, if `several_objectives`.

        The default is for a sampler that reads no score.
        """
        return self.searcher(space, goal.objectives[0], seed, scheduler)


@dataclass(frozen=True)
class RandomDraws(Sampler):
    """Independent draws, none twice."""

    origin: ClassVar[str] = RANDOM_DRAW

    @property
    def draws(self) -> None:
        """All proposals are draws."""
        return

    @property
    def several_objectives(self) -> bool:
        """Draws read no score."""
        return True

    def searcher(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Searcher:
        """Random draws."""
        from tuning.strategies.searchers.random_searcher import RandomSearcher

        return RandomSearcher(space, seed, scheduler)


@dataclass(frozen=True)
class HyperOptTpe(Sampler):
    """Random trials first, then HyperOpt's tree-structured Parzen estimator (not a Gaussian process).

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.

    Args:
        initial_random: the number of random trials.
    """

    origin: ClassVar[str] = "the model's proposal"

    initial_random: int

    @property
    def draws(self) -> int:
        """The random trials."""
        return self.initial_random

    @property
    def title(self) -> str:
        """The estimator."""
        return "TPE"

    def refusals(self, space: Space) -> list[tuple[str, str]]:
        """Refuses, besides, a space without a fixed set of names."""
        if not space.conditional:
            return super().refusals(space)
        rule = (
            "HyperOpt's TPE models one set of names with fixed ranges, and which of these a trial has depends on "
            f"its values: {', '.join(space.names)}; take optuna, random, random_asha, grid or pbt, or ask for every "
            "name with the same range in each trial and leave unread what a branch does not need"
        )
        return [("space", rule)]

    def searcher(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Searcher:
        """HyperOpt's TPE after the random trials."""
        from tuning.strategies.searchers.tpe_searcher import TpeSearcher

        return TpeSearcher(space, objective, self.initial_random, seed, scheduler)


@dataclass(frozen=True)
class OptunaSampler(Sampler):
    """One of Optuna's samplers: TPE, a Gaussian process, CMA-ES, or a quasi-random sequence.

    TPE: Watanabe, "Tree-structured Parzen estimator", 2023 (arXiv 2304.11127). CMA-ES: Hansen, "The CMA evolution
    strategy: a tutorial", 2016 (arXiv 1604.00772). Quasi-random: Bergstra and Bengio, JMLR 2012.

    Args:
        name: which one.
        initial_random: the number of random trials before its own.
        multivariate: of TPE: it models all names together, not each by itself.
        group: of TPE: it models the names of each branch of a conditional space together; None: where it has any.
    """

    uses: ClassVar[tuple[str, ...]] = ("points", "start_from")  # every range is as likely everywhere to its samplers

    name: OptunaName
    initial_random: int
    multivariate: bool = True
    group: bool | None = None

    @property
    def origin(self) -> str:  # type: ignore[override]
        """Names a proposal after the draws."""
        return "point of a quasi-random sequence" if self.name == "qmc" else "the model's proposal"

    @property
    def draws(self) -> int:
        """The random trials."""
        return self.initial_random

    @property
    def title(self) -> str:
        """The name of the sampler."""
        return OPTUNA_TITLES[self.name]

    def refusals(self, space: Space) -> list[tuple[str, str]]:
        """Refuses, besides, a package that is not installed, and a space that the sampler does not model."""
        return [*super().refusals(space), *self._missing(), *self._unmodelled(space)]

    def _missing(self) -> list[tuple[str, str]]:
        missing = [package for package in REQUIRES.get(self.name, ()) if find_spec(package) is None]
        step = f"pip install {' '.join(missing)}"
        return [("sampler", f"{self.name}: needs {' and '.join(missing)}; {step}, or take tpe")] if missing else []

    def _unmodelled(self, space: Space) -> list[tuple[str, str]]:
        if not space.searched:
            return []
        if self.name == "tpe":
            return _changing(space) if isinstance(space, FunctionSpace) else []
        if space.conditional:
            rule = f"{self.title} proposes one set of names, and which of these a trial has depends on its values"
            return [("space", f"{rule}: {', '.join(space.names)}; take sampler: tpe")]
        if self.name == "cmaes" and all(isinstance(one, Choice) for one in space.searched.values()):
            return [("space", "CMA-ES moves numbers, and all that is searched are choices; take sampler: tpe or gp")]
        return []

    @property
    def several_objectives(self) -> bool:
        """All but CMA-ES."""
        return self.name != "cmaes"

    def searcher(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Searcher:
        """The sampler behind Optuna's ask and tell."""
        return self.front_searcher(space, Goal(objectives=(objective,)), seed, scheduler)

    def front_searcher(self, space: Space, goal: Goal, seed: int, scheduler: TrialScheduler) -> Searcher:
        """The sampler with a direction for each objective; constraints are told with each trial."""
        from tuning.strategies.searchers.optuna_searcher import OptunaSearcher

        return OptunaSearcher(space, goal, self, seed, scheduler)


def _changing(space: FunctionSpace) -> list[tuple[str, str]]:
    """Refuses a name that Optuna cannot know in one study: with other choices or on another scale in a branch."""
    found = []
    for name, several in space.explored.suggestions.items():
        choices = {one.choices for one in several if len(one.choices) > 1}
        if len(choices) > 1 or len({one.log for one in several if one.kind != "categorical"}) > 1:
            shown = " and as ".join(map(str, several))
            rule = f"{name} is suggested as {shown}, and Optuna knows one list of choices and one scale of a name"
            found.append(("space", f"{rule}; give them two names"))
    return found
