"""What every study of an experiment may cost, and what of that it has spent.

In: the spec's `budget:`. Out: at most one `Limit`, the same for each strategy and seed, and for the record how a study
stood to it. What counts is what the study held: its devices over its wall time, at work or idle, with evaluations,
checkpoints, restarts and stopping in it. The scoring on the test split after a search is not part of its cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from trainables.spec import Frozen

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Unit = Literal["device_seconds", "epochs", "wall_seconds"]
HOUR = 3600.0
MAX_TRIALS = 100_000


class Limit(NamedTuple):
    """Where a study ends, whatever its strategy would still like to do."""

    unit: Unit
    amount: float

    def most_trials(self, least_epochs: float) -> int:
        """More than any budget pays for; a trial that fails may cost no epochs at all.

        Args:
            least_epochs: that a trial trains before its first report.
        """
        return math.ceil(self.amount / least_epochs) if self.unit == "epochs" else MAX_TRIALS

    def describe(self) -> str:
        """'600 device-seconds', '24 epochs', '90 wall seconds'."""
        words = {"device_seconds": "device-seconds", "epochs": "epochs", "wall_seconds": "wall seconds"}
        return f"{self.amount:g} {words[self.unit]}"


class ResourceUsage(NamedTuple):
    """What a study had held up to a moment, in the runs before an interruption too."""

    wall_seconds: float = 0.0
    slot_seconds: float = 0.0  # slots, summed over time
    device_seconds: float = 0.0  # its cost
    time: float = 0.0  # of the moment; seconds since 1970 (UTC)


@dataclass(frozen=True)
class Price:
    """What a device costs."""

    per_device_hour: float
    currency: str

    def of(self, device_seconds: float) -> float:
        """In `currency`."""
        return device_seconds / HOUR * self.per_device_hour


@dataclass(frozen=True)
class BudgetUse:
    """How a study stood to its budget. Without `reached` its strategy had nothing more to do, or it still runs."""

    unit: Unit
    limit: float
    spent: float  # when the study had ended, or up to now; in `unit`
    reached: bool  # the study was ended by the limit

    @property
    def unspent(self) -> float:
        """What is left of the limit."""
        return max(0.0, self.limit - self.spent)

    @property
    def overrun(self) -> float:
        """What was spent beyond the limit: until the last trial had stopped."""
        return max(0.0, self.spent - self.limit)


class PriceSpec(Frozen):
    """Shown beside device-seconds, and of no influence."""

    per_device_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="of one GPU, or of one CPU core where trials have no GPU"
    )
    currency: Annotated[str, Field(min_length=1, max_length=12)] = Field("USD", description="a text, shown as it is")

    @property
    def price(self) -> Price:
        """For the record."""
        return Price(self.per_device_hour, self.currency)


class BudgetSpec(Frozen):
    """Per study (a strategy x a seed), the same for all; at most one limit."""

    device_seconds: Amount | None = Field(
        None, description="wall seconds x slots x devices per trial; a device is a GPU, or a CPU core without GPUs"
    )
    device_hours: Amount | None = Field(None, description="the same in hours; with GPUs: GPU-hours")
    epochs: Amount | None = Field(None, description="passes over the training split, of all trials together")
    wall_seconds: Amount | None = Field(None, description="from the start of the study; interruptions not counted")
    price: PriceSpec | None = Field(None, description="turns device-seconds into money; {per_device_hour, currency}")

    @model_validator(mode="after")
    def _one_limit(self) -> BudgetSpec:
        units = ("device_seconds", "device_hours", "epochs", "wall_seconds")
        given = [unit for unit in units if getattr(self, unit) is not None]
        if len(given) > 1:
            raise ValueError(f"must have at most one of {', '.join(units)}, has {' and '.join(given)}; keep one")
        return self

    @property
    def limit(self) -> Limit | None:
        """The one that is set; None: studies end when their strategies do."""
        if self.device_hours is not None:
            return Limit("device_seconds", self.device_hours * HOUR)
        if self.device_seconds is not None:
            return Limit("device_seconds", self.device_seconds)
        if self.epochs is not None:
            return Limit("epochs", self.epochs)
        return None if self.wall_seconds is None else Limit("wall_seconds", self.wall_seconds)
