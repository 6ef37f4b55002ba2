"""HyperOpt's TPE proposes, ASHA stops: many short trials, few long ones."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt, model_validator

from trainables.epochs import ROUNDING
from trainables.spec import Epochs, Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy


class HyperOptAsha(Strategy):
    """Tree-structured Parzen estimator (not a Gaussian process) with asynchronous successive halving on epochs.

    At `grace_epochs` and at every rung after it, each `reduction_factor` times later, a trial goes on only if its score
    is among the best 1/`reduction_factor` that this rung has seen so far. Who meets whom depends on the order of
    arrival: with trials running side by side two runs with one seed differ.

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; Li et al., "A system for massively
    parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    kind: ClassVar[str] = "hyperopt_asha"

    trials: PositiveInt = Field(description="how many are started; most stop early")
    initial_random: PositiveInt | None = Field(
        None, description="drawn at random before TPE models anything; null: a quarter of the trials, at least 4"
    )
    grace_epochs: Epochs = Field(1.0, description="no trial is stopped before; the first rung")
    # Ray's default is 4. A fine-tuning has few epochs: with 4 and up to 4 epochs the only decision is the first, where
    # scores are noisiest, and it ends three of four trials; with 2 there are decisions after 1 and 2 (and 4).
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        2.0, description="1 in this many goes on at each rung"
    )
    compare_unequal_schedules: bool = Field(
        False, description="allow num_train_epochs in the space: finished short schedules then meet hot long ones"
    )

    @model_validator(mode="after")
    def _random_ones_fit(self) -> HyperOptAsha:
        if self.initial_random is not None and self.initial_random > self.trials:
            raise ValueError(f"initial_random: {self.initial_random} must be at most trials: {self.trials}")
        return self

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Nothing to search, a first rung beyond the end, or schedules of unequal length at one rung."""
        found = []
        if self.grace_epochs > epochs:
            found.append(("grace_epochs", f"{self.grace_epochs:g} must be at most the full epochs: {epochs:g}"))
        if not space.searched:
            found.append(
                ("space", "every value is fixed, there is nothing to propose; give at least one range or choice")
            )
        if "num_train_epochs" in space.searched and not self.compare_unequal_schedules:
            found.append(
                (
                    "space.num_train_epochs",
                    "ASHA would compare a short schedule that has cooled down with a long one that is still hot "
                    "at the same rung; fix it, or set compare_unequal_schedules: true to accept that",
                )
            )
        return found

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """The searcher is seeded; the scheduler draws nothing that matters (it has a single bracket)."""
        from tuning.search.asha import ASHA
        from tuning.search.tree_parzen import TreeParzen

        scheduler = ASHA(
            time_attr="epoch",
            metric=f"metrics/{objective.metric}",
            mode=objective.mode,
            max_t=epochs,
            grace_period=self.grace_epochs - ROUNDING,  # a report this close to a rung is at it
            reduction_factor=self.reduction_factor,
            # A trial ends itself at its horizon. With True, Ray also decides between rungs: a trial that passed several
            # rungs within one report is entered in the lower ones later, with the score of a later epoch.
            stop_last_trials=False,
        )
        random_ones = self.initial_random or min(max(self.trials // 4, 4), self.trials)
        searcher = TreeParzen(space, objective, random_ones, seed, scheduler)
        return Plan(scheduler, self.trials, searcher=searcher, weights_only=True)
