"""How one trial's history lies in the store: numbered events, each one JSON attribute, written in one transaction.

An event is a report or an exploit. After a crash a trial goes on from an older checkpoint and its later epochs are
computed again: their events overwrite the old ones under the same numbers. `take` tells them apart: it grows by one
with each such rewind, so an event of an earlier take that follows one of a later take is no part of the history.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, TypeAlias

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Value
from tuning.budget import ResourceUsage
from tuning.outcome import Exploit
from tuning.store.checksums import verify_checksum

Event: TypeAlias = Report | Exploit
PREFIX = "event:"
LOST = "lost in an interruption before Tune had saved it"
REPLACED = f"{LOST}; another trial was proposed in its place"


class TrialHistory(NamedTuple):
    """A trial's events that count, in order, and the take of the last."""

    events: list[Event]
    take: int
    held: list[ResourceUsage | None]  # one per event: what the study had held when it was recorded; None: not told


def event_key(index: int) -> str:
    """The attribute of the event at `index` (0, 1, ...)."""
    return f"{PREFIX}{index + 1:04d}"


def encode_event(event: Event, take: int, held: ResourceUsage | None = None) -> dict[str, Any]:
    """An event as JSON, with what its study had held by then.

    A metric that is not finite becomes a text: JSON has no word for it.
    """
    if isinstance(event, Exploit):
        plain = asdict(event)
        return {"take": take, "exploit": {**plain, "old": json_params(event.old), "new": json_params(event.new)}}
    metrics = {name: float(v) if math.isfinite(v) else str(float(v)) for name, v in event.metrics.items()}
    told = {"take": take, "report": {**event._asdict(), "metrics": metrics, "params": json_params(event.params)}}
    return told if held is None else {**told, "held": held}


def decode_events(attributes: Mapping[str, Any]) -> TrialHistory:
    """The history among a trial's attributes.

    Raises:
        DamagedRecord: an event is not what was written.
    """
    numbered = sorted((int(name.removeprefix(PREFIX)), name) for name in attributes if name.startswith(PREFIX))
    events: list[Event] = []
    held: list[ResourceUsage | None] = []
    take = 0
    for _, name in numbered:
        stored = verify_checksum(name, attributes[name])
        if stored["take"] < take:
            break  # left over from before a rewind
        take = stored["take"]
        events.append(_event(stored))
        held.append(_held(stored))
    return TrialHistory(events, take, held)


def largest_usage(held: Iterable[ResourceUsage | None]) -> ResourceUsage | None:
    """The most that a study had held by any of its events; None: not told."""
    return max((one for one in held if one is not None), default=None)


def count_events(attributes: Mapping[str, Any]) -> int:
    """How many events a trial's attributes hold, those too that do not count any more: it never shrinks."""
    return sum(name.startswith(PREFIX) for name in attributes)


def _held(stored: Mapping[str, Any]) -> ResourceUsage | None:
    return ResourceUsage(*stored["held"]) if "held" in stored else None


def _event(stored: Mapping[str, Any]) -> Event:
    if "exploit" in stored:
        return Exploit(**stored["exploit"])
    report = stored["report"]
    return Report(**{**report, "metrics": {name: float(value) for name, value in report["metrics"].items()}})


def reports_of(events: Iterable[Event]) -> tuple[Report, ...]:
    """The reports among `events`."""
    return tuple(event for event in events if isinstance(event, Report))


def insertion_index(events: list[Event], position: int, event: Event) -> int:
    """How many of `events[:position]` come before `event`.

    Epochs grow from report to report and from an exploit's epoch on. A report that is not beyond the last event was
    computed again from an older checkpoint; an exploit directly after an exploit replaces it.
    """
    if isinstance(event, Exploit):
        return position - 1 if position and isinstance(events[position - 1], Exploit) else position
    while position and events[position - 1].epoch >= event.epoch - ROUNDING:
        position -= 1
    return position


def json_params(params: Mapping[str, Any]) -> dict[str, Value]:
    """`params` with NumPy scalars as Python's own."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
