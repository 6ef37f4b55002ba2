"""Holds what an estimate says, as frozen dataclasses; `text.py` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SCHEMA_VERSION = 1  # of the JSON; increases when a key changes


class Expected(NamedTuple):
    """A number that is not certain: between `low` and `high`, most likely `likely`."""

    low: float
    likely: float
    high: float

    @classmethod
    def among(cls, likely: float, others: Iterable[float] = ()) -> Expected:
        """Return the range that `likely` and `others` span."""
        found = [likely, *others]
        return cls(min(found), likely, max(found))

    def plus(self, other: Expected) -> Expected:
        """Return the range of the sum."""
        return Expected(*map(sum, zip(self, other, strict=True)))

    def times(self, other: Expected) -> Expected:
        """Return the range of the product of numbers that are large and small together."""
        return Expected(*(one * factor for one, factor in zip(self, other, strict=True)))

    def scaled(self, factor: float) -> Expected:
        """Return the range times `factor`."""
        return Expected(*(value * factor for value in self))


@dataclass(frozen=True)
class SlotsEstimate:
    """The column of an estimate for one number of trials at a time."""

    slots: int
    simulated: bool  # False: computed as a bound
    trials: Expected | None  # None: not known
    stopped: Expected | None  # trials that end before their full epochs; None: not known
    epochs: Expected | None  # passes over the training rows, of all trials; None: not known
    steps: Expected | None = None  # optimizer steps; None: not known
    device_seconds: Expected | None = None  # as the record counts them; None: not known
    wall_seconds: Expected | None = None  # from the command to its end; None: not known
    memory: int | None = None  # bytes that all trials hold together, about
    disk: int | None = None  # bytes in the run folder, at most; None: not known
    money: Expected | None = None  # None: no price is set


@dataclass(frozen=True)
class ExperimentEstimate:
    """The estimate of what an experiment will take."""

    experiment: str
    strategies: int
    seeds: int
    device: str  # the unit of device-seconds: "GPU" or "CPU core"
    source: str  # where the seconds of a trial are from
    columns: tuple[SlotsEstimate, ...]  # one per number of slots
    trial_memory: int | None = None  # bytes that the heaviest trial holds
    trial_device_memory: int | None = None  # bytes of it on a GPU; None: it uses none
    currency: str = ""
    certain: tuple[str, ...] = ()  # sentences: what is known
    ranges: tuple[str, ...] = ()  # sentences: what is a range, and why

    def to_json(self) -> dict[str, Any]:
        """Return dictionaries, lists, numbers and texts; bytes and seconds as they are."""
        return {"schema_version": SCHEMA_VERSION, **_plain(asdict(self))}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ExperimentEstimate:
        """Read what `to_json` has made.

        Raises:
            KeyError, TypeError: it has not.
        """
        fields = {name: value for name, value in plain.items() if name != "schema_version"}
        columns = tuple(
            SlotsEstimate(**{name: _read(value) for name, value in one.items()}) for one in plain["columns"]
        )
        texts = {name: tuple(plain[name]) for name in ("certain", "ranges")}
        return cls(**{**fields, **texts, "columns": columns})

    def __repr__(self) -> str:
        from tuning.estimate.text import estimate_text

        return estimate_text(self)


def _plain(value: Any) -> Any:
    if isinstance(value, Expected):
        return value._asdict()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _read(value: Any) -> Any:
    return Expected(**value) if isinstance(value, dict) else value
