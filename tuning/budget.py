"""The budget of a study: how much it may cost, and how much it has used.

Input is the section `budget:` of a spec. Output is at most one `Limit`, which holds for each strategy and seed, and a
`BudgetUse` per study for the record. The cost of a study is its devices times the wall time for which it holds them:
idle time, evaluations, checkpoints, restarts and stopping count. Scoring on the test split after the search does not,
nor do the trainings of `confirm:`, whose cost is recorded with each, nor devices that other jobs of a shared cluster
hold.
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
    """The amount of one unit at which a study ends, even if its strategy has more trials to run."""

    unit: Unit
    amount: float

    def most_trials(self, least_epochs: float) -> int:
        """Returns an upper bound on the number of trials. A budget of time gives none, since a failing trial is cheap.

        Args:
            least_epochs: epochs that a trial trains before its first report.
        """
        return math.ceil(self.amount / least_epochs) if self.unit == "epochs" else MAX_TRIALS

    def describe(self) -> str:
        """Formats the limit, for example '600 device-seconds', '24 epochs' or '90 wall seconds'."""
        words = {"device_seconds": "device-seconds", "epochs": "epochs", "wall_seconds": "wall seconds"}
        return f"{self.amount:g} {words[self.unit]}"


class ResourceUsage(NamedTuple):
    """The resources that a study has used up to a moment, over all its runs: those before an interruption count."""

    wall_seconds: float = 0.0
    slot_seconds: float = 0.0  # number of slots that it held or could hold, summed over time
    device_seconds: float = 0.0  # its cost
    time: float = 0.0  # the moment; seconds since 1970 (UTC)


@dataclass(frozen=True)
class Price:
    """The price of one device for one hour."""

    per_device_hour: float
    currency: str

    def of(self, device_seconds: float) -> float:
        """Returns the cost of `device_seconds` in `currency`."""
        return device_seconds / HOUR * self.per_device_hour


@dataclass(frozen=True)
class BudgetUse:
    """The budget use of a study. If not `reached`, its strategy ran out of trials, or it still runs."""

    unit: Unit
    limit: float
    spent: float  # up to the end of the study, or up to now; in `unit`
    reached: bool  # the study was ended by the limit

    @property
    def unspent(self) -> float:
        """The part of the limit that is left, in `unit`."""
        return max(0.0, self.limit - self.spent)

    @property
    def overrun(self) -> float:
        """The amount used beyond the limit, until the last trial had stopped; in `unit`."""
        return max(0.0, self.spent - self.limit)


class PriceSpec(Frozen):
    """The section `budget.price` of a spec. It adds money to the report and changes nothing in the run."""

    per_device_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="of one GPU, or of one CPU core where trials have no GPU"
    )
    currency: Annotated[str, Field(min_length=1, max_length=12)] = Field("USD", description="a text, shown as it is")

    @property
    def price(self) -> Price:
        """The amount and the currency as the record holds them."""
        return Price(self.per_device_hour, self.currency)


class BudgetSpec(Frozen):
    """The section `budget` of a spec: at most one limit, which holds for each study (strategy x seed)."""

    device_seconds: Amount | None = Field(
        None,
        description="wall seconds x slots x devices per trial, without what other jobs hold; a device is a GPU, or a "
        "CPU core without GPUs",
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
        """The limit that is set; None if studies end when their strategies do."""
        if self.device_hours is not None:
            return Limit("device_seconds", self.device_hours * HOUR)
        if self.device_seconds is not None:
            return Limit("device_seconds", self.device_seconds)
        if self.epochs is not None:
            return Limit("epochs", self.epochs)
        return None if self.wall_seconds is None else Limit("wall_seconds", self.wall_seconds)
