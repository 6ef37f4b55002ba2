"""The keys of a strategy that proposes trials one by one, at random or with TPE. Imports no Ray by itself.

For one seed the first proposals are the same ones, whoever makes them: those of `tuning.space.Draws`, none twice.
TPE starts from as many of them as `initial_random` says, and a population of PBT are the first of them, too.
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
    """How many trials are proposed."""

    trials: PositiveInt | None = Field(description="how many are started; null: until the experiment's budget is spent")

    def space_refusals(self, space: Space) -> list[tuple[str, str]]:
        """Nothing to search; as `Strategy.refusals`."""
        if space.searched:
            return []
        return [("space", "every value is fixed, there is nothing to propose; give at least one range or choice")]

    def planned_trials(self, space: Space) -> int | None:
        """The number of trials asked for, or of a finite space's configurations if that is less: none comes twice."""
        return self.trials if self.trials is None or space.size is None else min(self.trials, space.size)

    def planned(self, space: Space, searcher: Searcher, scheduler: TrialScheduler) -> Plan:
        """The plan of a searcher that proposes nothing twice, and a scheduler that pauses and clones nothing."""
        from tuning.strategies import Plan

        trials = self.planned_trials(space)
        most = space.size if trials is None else None
        return Plan(scheduler, trials, searcher=searcher, most_trials=most, weights_only=True)

    def first_draws(self, space: Space) -> int:
        """All trials are such draws; 0 where their number is not known beforehand."""
        return self.planned_trials(space) or 0


class DrawnProposals(Proposals):
    """Independent draws, none twice."""

    origin: ClassVar[str] = RANDOM_DRAW

    def drawn(self, space: Space, seed: int, scheduler: TrialScheduler) -> Plan:
        """The plan; the searcher's saved state carries the scheduler's."""
        from tuning.strategies.searchers.random_searcher import Drawn

        return self.planned(space, Drawn(space, seed, scheduler), scheduler)


class ModelledProposals(Proposals):
    """At random first, then by HyperOpt's tree-structured Parzen estimator (not a Gaussian process).

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.
    """

    origin: ClassVar[str] = "the model's proposal"

    initial_random: PositiveInt | None = Field(
        None,
        description="drawn at random before TPE models anything; null: a quarter of the trials, at least 4, "
        "or 20 where the budget alone ends the study",
    )

    def space_refusals(self, space: Space) -> list[tuple[str, str]]:
        """Nothing to search, or no fixed set of names; as `Strategy.refusals`."""
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
    def _random_ones_fit(self) -> ModelledProposals:
        if self.initial_random is not None and self.trials is not None and self.initial_random > self.trials:
            raise ValueError(f"initial_random: {self.initial_random} must be at most trials: {self.trials}")
        return self

    def first_draws(self, space: Space) -> int:
        """The draws before its model proposes any."""
        return self.learns_after(space)

    def learns_after(self, space: Space) -> int:
        """The number of trials at random; in a finite space no more than it has configurations."""
        return self._random_ones() if space.size is None else min(self._random_ones(), space.size)

    def outline(self, space: Space) -> str:
        """Says how many trials are not the model's own."""
        return f"the first {self.learns_after(space)} at random, then TPE"

    def modelled(self, space: Space, objective: Objective, seed: int, scheduler: TrialScheduler) -> Plan:
        """The plan of TPE after the first of those draws; its saved state carries the scheduler's, too."""
        from tuning.strategies.searchers.tree_parzen import TreeParzen

        return self.planned(space, TreeParzen(space, objective, self._random_ones(), seed, scheduler), scheduler)

    def _random_ones(self) -> int:
        if self.initial_random is not None:
            return self.initial_random
        return RANDOM_WITHOUT_END if self.trials is None else min(max(self.trials // 4, LEAST_RANDOM), self.trials)
