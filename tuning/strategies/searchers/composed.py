"""Strategies that are a sampler beside a stopping rule: `random`, `hyperopt`, `optuna`, those with ASHA, and `custom`.

The sampler proposes trials one by one (`tuning.strategies.searchers.samplers`), the rule ends some of them early
(`tuning.strategies.schedulers.stopping`). Neither knows of the other; a strategy makes both of its YAML keys. Imports
no Ray by itself.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, model_validator

from trainables.spec import Goal, Objective
from trainables.wording import counted
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.schedulers.stopping import FullLength, Stopping
from tuning.strategies.searchers.samplers import HyperOptTpe, OptunaSampler, RandomDraws, Sampler, SamplerName

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher

LEAST_RANDOM, RANDOM_WITHOUT_END = 4, 20  # the second is HyperOpt's own default


class Composed(Strategy):
    """A sampler beside a stopping rule. No trial is paused or cloned, and none is proposed twice in a finite space."""

    weights_only: ClassVar[bool] = True

    trials: PositiveInt | None = Field(description="how many are started; null: until the experiment's budget is spent")

    @property
    @abstractmethod
    def proposer(self) -> Sampler:
        """The sampler with the settings of this strategy's keys."""

    @property
    def stopper(self) -> Stopping:
        """The stopping rule with the settings of this strategy's keys."""
        return FullLength()

    @property
    def origin(self) -> str:  # type: ignore[override]
        """See `Strategy.origin`."""
        return self.proposer.origin

    @property
    def uses(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Strategy.uses`."""
        return self.proposer.uses

    @property
    def decides_on_the_way(self) -> bool:  # type: ignore[override]
        """See `Strategy.decides_on_the_way`."""
        return self.stopper.stops

    @property
    def several_objectives(self) -> bool:  # type: ignore[override]
        """True if both the sampler and the stopping rule take several."""
        return self.proposer.several_objectives and self.stopper.several_objectives

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses what the sampler or the stopping rule cannot work with."""
        return [*self.proposer.refusals(space), *self.stopper.refusals(space, epochs)]

    def planned_trials(self, space: Space) -> int | None:
        """`trials`, or the number of a finite space's configurations if that is less: none is proposed twice.

        What an earlier trial had, which the model knows, is not proposed either.
        """
        left = space.untried
        return self.trials if self.trials is None or left is None else min(self.trials, left)

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """The epochs of all trials, each to its end; None where some are stopped early."""
        trials = self.planned_trials(space)
        return None if trials is None or self.stopper.stops else trials * epochs

    def first_draws(self, space: Space) -> int:
        """The known points and random trials; 0 if all are and their number is not known beforehand."""
        first, left = self.proposer.first_of(space), space.untried
        if first is None:
            return self.planned_trials(space) or 0
        return first if left is None else min(first, left)

    def learns_after(self, space: Space) -> int | None:
        """The number of known points and random trials; in a finite space no more than are left of it."""
        return self.first_draws(space) if self.proposer.draws else None

    def outline(self, space: Space) -> str:
        """The number of trials that are not the model's own, in words."""
        after, title, points = self.learns_after(space), self.proposer.title, len(space.knowledge.points)
        if after is None or not title:
            return title
        drawn = f"{'' if points else 'the first '}{after - points} at random"
        words = [f"{counted(points, 'point')} first"] * (points > 0) + [drawn] * (after > points)
        return ", then ".join([*words, title])

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The rule's scheduler, and the sampler's searcher, whose saved state carries the scheduler's."""
        scheduler = self.stopper.scheduler(objective, epochs, seed)
        return self._planned(space, self.proposer.searcher(space, objective, seed, scheduler), scheduler)

    def plan_several(self, space: Space, goal: Goal, epochs: float, seed: int, *, cut: bool = False) -> Plan:
        """Plans a study of several objectives with the rule's scheduler and the sampler's searcher."""
        scheduler = self.stopper.front_scheduler(goal, epochs, seed)
        return self._planned(space, self.proposer.front_searcher(space, goal, seed, scheduler), scheduler)

    def _planned(self, space: Space, searcher: Searcher, scheduler: TrialScheduler) -> Plan:
        trials = self.planned_trials(space)
        most = space.untried if trials is None else None
        return Plan(scheduler, trials, searcher=searcher, most_trials=most, weights_only=True)


class Modelled(Composed):
    """A sampler that models the scores after random trials."""

    initial_random: PositiveInt | None = Field(
        None,
        description="drawn at random before the sampler models anything, known points and earlier trials included; "
        "null: a quarter of the trials, at least 4, "
        "or 20 where the budget alone ends the study; of CMA-ES 1",
    )

    @model_validator(mode="after")
    def _random_trials_fit(self) -> Modelled:
        if self.initial_random is not None and self.trials is not None and self.initial_random > self.trials:
            raise ValueError(f"initial_random: {self.initial_random} must be at most trials: {self.trials}")
        return self

    @property
    def random_trials(self) -> int:
        """`initial_random`, or its default for this number of trials."""
        if self.initial_random is not None:
            return self.initial_random
        return RANDOM_WITHOUT_END if self.trials is None else min(max(self.trials // 4, LEAST_RANDOM), self.trials)

    def sampler_named(self, name: SamplerName, **options: Any) -> Sampler:
        """Returns the sampler of that name with this strategy's number of random trials.

        Args:
            options: of Optuna's TPE: `multivariate`, `group`.
        """
        if name == "random":
            return RandomDraws()
        if name == "hyperopt":
            return HyperOptTpe(self.random_trials)
        draws = 1 if name == "cmaes" and self.initial_random is None else self.random_trials
        return OptunaSampler(name, 0 if name == "qmc" else draws, **options)

    def refuse_unread_draws(self, name: SamplerName) -> None:
        """Refuses a number of random trials beside a sampler that has no use for it.

        Raises:
            ValueError: there is one.
        """
        if name in ("random", "qmc") and self.initial_random is not None:
            raise ValueError(f"initial_random: {self.initial_random}: sampler: {name} models nothing; remove it")
