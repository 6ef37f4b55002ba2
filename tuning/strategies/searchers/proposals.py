"""The YAML keys of strategies that propose trials one by one, at random or with TPE. Imports no Ray by itself.

For one seed the first proposals are the same ones, whoever makes them: those of `tuning.space.Draws`, none twice.
TPE starts from `initial_random` of them, and a population of PBT begins with the first of them, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt, model_validator

from trainables.spec import Frozen, Objective
from tuning.outcome.attributes import RANDOM_DRAW
from tuning.space import Space

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

    from tuning.strategies import Plan

LEAST_RANDOM, RANDOM_WITHOUT_END = 4, 20  # the second is HyperOpt's own default


class Proposals(Frozen):
    """The number of trials, and the plan of a searcher that proposes them."""

    trials: PositiveInt | None = Field(description="how many are started; null: until the experiment's budget is spent")

    def space_refusals(self, space: Space) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search; as `Strategy.refusals`."""
        if space.searched:
            return []
        return [("space", "every value is fixed, there is nothing to propose; give at least one range or choice")]

    def planned_trials(self, space: Space) -> int | None:
        """`trials`, or the number of a finite space's configurations if that is less: none is proposed twice."""
        return self.trials if self.trials is None or space.size is None else min(self.trials, space.size)

    def planned(self, space: Space, searcher: Searcher, scheduler: TrialScheduler) -> Plan:
        """The plan of a searcher that proposes nothing twice, and a scheduler that pauses and clones nothing."""
        from tuning.strategies import Plan

        trials = self.planned_trials(space)
        most = space.size if trials is None else None
        return Plan(scheduler, trials, searcher=searcher, most_trials=most, weights_only=True)

    def first_draws(self, space: Space) -> int:
        """All trials are draws of `Draws`; 0 if their number is not known beforehand."""
        return self.planned_trials(space) or 0


class RandomProposals(Proposals):
    """Independent draws from the space, none twice."""

    origin: ClassVar[str] = RANDOM_DRAW

    def drawn(self, space: Space, seed: int, scheduler: TrialScheduler) -> Plan:
        """The plan; the searcher's saved state carries the scheduler's."""
        from tuning.strategies.searchers.random_searcher import RandomSearcher

        return self.planned(space, RandomSearcher(space, seed, scheduler), scheduler)


class TpeProposals(Proposals):
    """Random trials first, then HyperOpt's tree-structured Parzen estimator (not a Gaussian process).

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.
    """

    origin: ClassVar[str] = "the model's proposal"

    initial_random: PositiveInt | None = Field(
        None,
        description="drawn at random before TPE models anything; null: a quarter of the trials, at least 4, "
        "or 20 where the budget alone ends the study",
    )

    def space_refusals(self, space: Space) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search, or without a fixed set of names; as `Strategy.refusals`."""
        if not space.conditional:
            return super().space_refusals(space)
        return [
            (
                "space",
                "HyperOpt's TPE models one set of names with fixed ranges, and which of these a trial has depends on "
                f"its values: {', '.join(space.names)}; take random, random_asha, grid or pbt, or ask for every name "
                "with the same range in each trial and leave unread what a branch does not need",
            )
        ]

    @model_validator(mode="after")
    def _random_trials_fit(self) -> TpeProposals:
        if self.initial_random is not None and self.trials is not None and self.initial_random > self.trials:
            raise ValueError(f"initial_random: {self.initial_random} must be at most trials: {self.trials}")
        return self

    def first_draws(self, space: Space) -> int:
        """The number of random trials before the model proposes any."""
        return self.learns_after(space)

    def learns_after(self, space: Space) -> int:
        """The number of random trials; in a finite space no more than it has configurations."""
        return self._random_trials() if space.size is None else min(self._random_trials(), space.size)

    def outline(self, space: Space) -> str:
        """The number of trials that are not the model's own, in words."""
        return f"the first {self.learns_after(space)} at random, then TPE"

    def modelled(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Plan:
        """The plan of TPE after the random trials; the searcher's saved state carries the scheduler's."""
        from tuning.strategies.searchers.tpe_searcher import TpeSearcher

        return self.planned(space, TpeSearcher(space, objective, self._random_trials(), seed, scheduler), scheduler)

    def _random_trials(self) -> int:
        if self.initial_random is not None:
            return self.initial_random
        return RANDOM_WITHOUT_END if self.trials is None else min(max(self.trials // 4, LEAST_RANDOM), self.trials)
