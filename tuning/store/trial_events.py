"""Encodes one trial's history as numbered events, each one JSON attribute that is written in one transaction.

An event is a report or an exploit. After a crash a trial continues from an older checkpoint and recomputes later
epochs: their events overwrite the old ones under the same numbers. Each such rewind increases the number `take`. An
event of an earlier take that follows one of a later take is a leftover and not part of the history.
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
# Recorded texts: stores of earlier versions hold them.
LOST = "lost in an interruption before Tune had saved it"
REPLACED = f"{LOST}; another trial was proposed in its place"


class TrialHistory(NamedTuple):
    """The valid events of a trial in order, and the take of the last one."""

    events: list[Event]
    take: int
    held: list[ResourceUsage | None]  # one per event: the study's usage by then; None: not recorded


def event_key(index: int) -> str:
    """Returns the attribute name of the event at `index` (0, 1, ...)."""
    return f"{PREFIX}{index + 1:04d}"


def encode_event(event: Event, take: int, held: ResourceUsage | None = None) -> dict[str, Any]:
    """Encodes an event as JSON. A metric that is not finite becomes a text, since JSON has no such numbers.

    Args:
        event: a report or an exploit.
        take: number of the current take.
        held: the study's usage by then.
    """
    if isinstance(event, Exploit):
        plain = asdict(event)
        return {"take": take, "exploit": {**plain, "old": json_params(event.old), "new": json_params(event.new)}}
    metrics = {name: float(v) if math.isfinite(v) else str(float(v)) for name, v in event.metrics.items()}
    encoded = {"take": take, "report": {**event._asdict(), "metrics": metrics, "params": json_params(event.params)}}
    return encoded if held is None else {**encoded, "held": held}


def decode_events(attributes: Mapping[str, Any]) -> TrialHistory:
    """Decodes the history among a trial's attributes.

    Raises:
        DamagedRecord: the checksum of an event differs.
    """
    numbered = sorted((int(name.removeprefix(PREFIX)), name) for name in attributes if name.startswith(PREFIX))
    events: list[Event] = []
    held: list[ResourceUsage | None] = []
    take = 0
    for _, name in numbered:
        stored = verify_checksum(name, attributes[name])
        if stored["take"] < take:
            break  # a leftover from before a rewind
        take = stored["take"]
        events.append(_event(stored))
        held.append(_held(stored))
    return TrialHistory(events, take, held)


def largest_usage(held: Iterable[ResourceUsage | None]) -> ResourceUsage | None:
    """Returns the largest usage among events; None if none is recorded."""
    return max((one for one in held if one is not None), default=None)


def count_events(attributes: Mapping[str, Any]) -> int:
    """Returns how many events a trial's attributes hold, leftovers included. The number never decreases."""
    return sum(name.startswith(PREFIX) for name in attributes)


def _held(stored: Mapping[str, Any]) -> ResourceUsage | None:
    return ResourceUsage(*stored["held"]) if "held" in stored else None


def _event(stored: Mapping[str, Any]) -> Event:
    if "exploit" in stored:
        return Exploit(**stored["exploit"])
    report = stored["report"]
    return Report(**{**report, "metrics": {name: float(value) for name, value in report["metrics"].items()}})


def reports_of(events: Iterable[Event]) -> tuple[Report, ...]:
    """Returns the reports among `events`."""
    return tuple(event for event in events if isinstance(event, Report))


def insertion_index(events: list[Event], position: int, event: Event) -> int:
    """Returns the index at which `event` belongs among `events[:position]`; later ones are replaced.

    Epochs increase from report to report and from an exploit's epoch on. A report that is not beyond the last event was
    recomputed from an older checkpoint. An exploit directly after an exploit replaces it.
    """
    if isinstance(event, Exploit):
        return position - 1 if position and isinstance(events[position - 1], Exploit) else position
    while position and events[position - 1].epoch >= event.epoch - ROUNDING:
        position -= 1
    return position


def json_params(params: Mapping[str, Any]) -> dict[str, Value]:
    """Returns `params` with NumPy scalars converted to Python numbers."""
    return {name: value.item() if hasattr(value, "item") else value for name, value in params.items()}
