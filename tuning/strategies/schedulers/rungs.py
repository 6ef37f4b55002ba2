"""The YAML keys of strategies that stop trials early at ASHA's rungs. Imports no Ray by itself.

Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from trainables.epochs import ROUNDING
from trainables.spec import Epochs, Frozen, Objective
from tuning.space import Space

if TYPE_CHECKING:
    from tuning.strategies.schedulers.asha import ASHA


class Rungs(Frozen):
    """Stops trials at the rungs of asynchronous successive halving.

    At `grace_epochs` and at every rung after it, each `reduction_factor` times later, a trial goes on only if its
    score is among the best 1/`reduction_factor` that this rung has seen so far. Who meets whom depends on the order of
    arrival: with trials running side by side two runs with one seed differ.
    """

    decides_on_the_way: ClassVar[bool] = True

    grace_epochs: Epochs = Field(1.0, description="no trial is stopped before; the first rung")
    # Ray's default is 4. A fine-tuning has few epochs: with 4 and up to 4 epochs the only decision is the first, where
    # scores are noisiest, and it ends three of four trials; with 2 there are decisions after 1 and 2 (and 4).
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        2.0, description="1 in this many goes on at each rung"
    )
    compare_unequal_schedules: bool = Field(
        False, description="allow num_train_epochs in the space: finished short schedules then meet hot long ones"
    )

    def rung_refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a first rung beyond the end, and schedules of unequal length at one rung; as `Strategy.refusals`."""
        found = []
        if self.grace_epochs > epochs:
            found.append(("grace_epochs", f"{self.grace_epochs:g} must be at most the full epochs: {epochs:g}"))
        if "num_train_epochs" in space.searched and not self.compare_unequal_schedules:
            found.append(
                (
                    "space.num_train_epochs",
                    "ASHA would compare a short schedule that has cooled down with a long one that is still hot "
                    "at the same rung; fix it, or set compare_unequal_schedules: true to accept that",
                )
            )
        return found

    def asha(self, objective: Objective, epochs: float) -> ASHA:
        """The scheduler of one study; with its single bracket it draws nothing that matters."""
        from tuning.strategies.schedulers.asha import ASHA

        return ASHA(
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
