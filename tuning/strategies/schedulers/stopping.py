"""Rules by which a strategy ends trials before their full epochs. Imports no Ray and no Optuna by itself.

A rule looks at scores alone, so any sampler may stand beside it. A strategy makes one of its YAML keys; the rule makes
the Tune scheduler of a study.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trainables.epochs import ROUNDING
from trainables.spec import Goal, Objective
from tuning.space import Space

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


class Stopping(ABC):
    """A stopping rule with its settings."""

    stops: ClassVar[bool] = True  # False: every trial runs to its end
    several_objectives: ClassVar[bool] = False  # as `Strategy.several_objectives`

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Returns what cannot work; as `Strategy.refusals`."""
        return []

    @abstractmethod
    def scheduler(self, objective: Objective, epochs: float, seed: int) -> TrialScheduler:
        """Makes the scheduler of one study. The state that it decides by is in its attributes, and can be pickled."""

    def front_scheduler(self, goal: Goal, epochs: float, seed: int) -> TrialScheduler:
        """Makes the scheduler of a study of several objectives, if `several_objectives`.

        The default is for a rule that reads no score.
        """
        return self.scheduler(goal.objectives[0], epochs, seed)


class FullLength(Stopping):
    """No rule: nothing is stopped early."""

    stops: ClassVar[bool] = False
    several_objectives: ClassVar[bool] = True

    def scheduler(self, objective: Objective, epochs: float, seed: int) -> TrialScheduler:
        """Tune's first-in-first-out scheduler."""
        from tuning.strategies.schedulers.fifo import FIFO

        return FIFO()


@dataclass(frozen=True)
class Comparing(Stopping):
    """A rule that compares trials with each other at equal epochs.

    Args:
        grace_epochs: no trial is stopped before.
        compare_unequal_schedules: `num_train_epochs` may be searched.
    """

    grace_epochs: float
    compare_unequal_schedules: bool

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a grace beyond the end, and schedules of unequal length; as `Strategy.refusals`."""
        found = []
        if self.grace_epochs > epochs:
            found.append(("grace_epochs", f"{self.grace_epochs:g} must be at most the full epochs: {epochs:g}"))
        if "num_train_epochs" in space.searched and not self.compare_unequal_schedules:
            found.append(
                (
                    "space.num_train_epochs",
                    "a short schedule that has cooled down would be compared with a long one that is still hot, after "
                    "the same epochs; fix it, or set compare_unequal_schedules: true to accept that",
                )
            )
        return found


@dataclass(frozen=True)
class Halving(Comparing):
    """Asynchronous successive halving (ASHA), in one bracket or several.

    Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934). With every
    bracket that fits it is the asynchronous form of Hyperband: Li et al., "Hyperband", JMLR 2018.

    Args:
        reduction_factor: 1 in this many goes on at each rung.
        brackets: a trial is put in one of so many at random; each begins one rung later, most trials in the first.
            None: as many as the epochs allow.
    """

    reduction_factor: float
    brackets: int | None = 1

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses, besides, a bracket without a rung."""
        found = super().refusals(space, epochs)
        if self.grace_epochs <= epochs and self.brackets is not None and self.brackets > (most := self._most(epochs)):
            reach = f"from {self.grace_epochs:g} to {epochs:g} epochs by {self.reduction_factor:g}"
            found.append(("brackets", f"{self.brackets}: there are {most} rungs {reach}, and each bracket needs one"))
        return found

    def scheduler(self, objective: Objective, epochs: float, seed: int) -> TrialScheduler:
        """ASHA; with a single bracket it draws nothing."""
        from tuning.strategies.schedulers.asha import ASHA

        return ASHA(
            seed,
            time_attr="epoch",
            metric=f"metrics/{objective.metric}",
            mode=objective.mode,
            max_t=epochs,
            grace_period=self.grace_epochs - ROUNDING,  # a report this close to a rung is at it
            reduction_factor=self.reduction_factor,
            brackets=self._most(epochs) if self.brackets is None else self.brackets,
            # A trial ends itself at its horizon. With True, Ray also decides between rungs: a trial that passed several
            # rungs within one report is entered in the lower ones later, with the score of a later epoch.
            stop_last_trials=False,
        )

    def _most(self, epochs: float) -> int:
        return int(math.log(epochs / (self.grace_epochs - ROUNDING)) / math.log(self.reduction_factor) + 1)


@dataclass(frozen=True)
class RankedHalving(Comparing):
    """Asynchronous successive halving by the non-dominated rank of several objectives (MOASHA), in one bracket.

    Schmucker et al., "Multi-objective asynchronous successive halving", 2021 (arXiv 2106.12639).

    Args:
        reduction_factor: 1 in this many goes on at each rung.
    """

    several_objectives: ClassVar[bool] = True

    reduction_factor: float

    def scheduler(self, objective: Objective, epochs: float, seed: int) -> TrialScheduler:
        """MOASHA, where with one objective the rank is that of its scores."""
        return self.front_scheduler(Goal(objectives=(objective,)), epochs, seed)

    def front_scheduler(self, goal: Goal, epochs: float, seed: int) -> TrialScheduler:
        """MOASHA; it draws nothing."""
        from tuning.strategies.schedulers.moasha import MOASHA

        return MOASHA(goal, epochs, self.grace_epochs, self.reduction_factor)


@dataclass(frozen=True)
class BelowOthers(Comparing):
    """Stops a trial whose best score so far is below a share of the completed trials' at the same epoch.

    Golovin et al., "Google Vizier", KDD 2017, for the median. The rule is that of Optuna's pruners.

    Args:
        percentile: the best so many percent go on; 50: those above the median.
        startup_trials: nothing is stopped before so many trials are complete.
        patience: only a trial is stopped that has not improved for so many evaluations; None: any.
    """

    percentile: float
    startup_trials: int
    patience: int | None = None

    def scheduler(self, objective: Objective, epochs: float, seed: int) -> TrialScheduler:
        """Optuna's pruner behind Tune's scheduler."""
        from tuning.strategies.schedulers.pruning import PruningScheduler

        return PruningScheduler(objective, self.grace_epochs, self.percentile, self.startup_trials, self.patience)
