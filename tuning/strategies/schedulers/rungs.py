"""The YAML keys of the stopping rules. Imports no Ray by itself."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt

from trainables.spec import Epochs, Frozen
from tuning.strategies.schedulers.stopping import BelowOthers, FullLength, Halving, RankedHalving, Stopping

StoppingRule: TypeAlias = Literal["none", "asha", "moasha", "hyperband", "median", "percentile", "patient"]
HALVING: tuple[StoppingRule, ...] = ("asha", "moasha", "hyperband")
BELOW: tuple[StoppingRule, ...] = ("median", "percentile", "patient")
READ_BY: dict[str, tuple[StoppingRule, ...]] = {
    "grace_epochs": (*HALVING, *BELOW),
    "compare_unequal_schedules": (*HALVING, *BELOW),
    "reduction_factor": HALVING,
    "brackets": ("asha",),
    "percentile": ("percentile",),
    "startup_trials": BELOW,
    "patience": ("patient",),
}


class Rungs(Frozen):
    """Stops trials at the rungs of asynchronous successive halving.

    At `grace_epochs` and at every rung after it, each `reduction_factor` times later, a trial goes on only if its
    score is among the best 1/`reduction_factor` that this rung has seen so far. Who meets whom depends on the order of
    arrival: with trials running side by side two runs with one seed differ.

    Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    grace_epochs: Epochs = Field(1.0, description="no trial is stopped before; the first rung")
    # Ray's default is 4. A fine-tuning has few epochs: with 4 and up to 4 epochs the only decision is the first, where
    # scores are noisiest, and it ends three of four trials; with 2 there are decisions after 1 and 2 (and 4).
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        2.0, description="1 in this many goes on at each rung"
    )
    compare_unequal_schedules: bool = Field(
        False, description="allow num_train_epochs in the space: finished short schedules then meet hot long ones"
    )

    @property
    def stopper(self) -> Stopping:
        """ASHA with one bracket."""
        return Halving(self.grace_epochs, self.compare_unequal_schedules, self.reduction_factor)


class StoppingKeys(Frozen):
    """Stops trials by a rule that a key names; each other key is read by some of the rules."""

    grace_epochs: Epochs = Field(
        1.0, description="no trial is stopped before; of asha, moasha and hyperband the first rung"
    )
    reduction_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        2.0, description="asha, moasha, hyperband: 1 in this many goes on at each rung"
    )
    brackets: PositiveInt = Field(
        1, description="asha: trials are drawn into so many brackets, each of which begins one rung later"
    )
    percentile: Annotated[float, Field(gt=0, lt=100)] = Field(
        25.0, description="percentile: the best so many percent of the completed trials' scores go on"
    )
    startup_trials: Annotated[int, Field(ge=1)] = Field(
        5, description="median, percentile, patient: nothing is stopped before so many trials are complete"
    )
    patience: PositiveInt = Field(
        2, description="patient: stops below the median, after so many evaluations without an improvement"
    )
    compare_unequal_schedules: bool = Field(
        False, description="allow num_train_epochs in the space: finished short schedules then meet hot long ones"
    )

    def rule(self, name: StoppingRule) -> Stopping:
        """Returns the rule of that name with the settings of these keys."""
        if name == "none":
            return FullLength()
        compared = self.grace_epochs, self.compare_unequal_schedules
        if name == "moasha":
            return RankedHalving(*compared, self.reduction_factor)
        if name in HALVING:
            return Halving(*compared, self.reduction_factor, self.brackets if name == "asha" else None)
        percentile = self.percentile if name == "percentile" else 50.0
        return BelowOthers(*compared, percentile, self.startup_trials, self.patience if name == "patient" else None)

    def refuse_unread(self, key: str, name: StoppingRule) -> None:
        """Refuses settings of other rules than `name`.

        Args:
            key: the key that names the rule.

        Raises:
            ValueError: which setting, and which rules read it.
        """
        for field, readers in READ_BY.items():
            value = getattr(self, field)
            if name not in readers and value != type(self).model_fields[field].default:
                raise ValueError(
                    f"{field}: {value}: nothing reads it with {key}: {name}; remove it, or take {key}: "
                    f"{' or '.join(readers)}"
                )
