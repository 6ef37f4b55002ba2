"""Shows an estimate to people: a short table, then what is certain, and what is a range and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainables.wording import counted
from tuning.budget import HOUR
from tuning.checkpoints.storage_needs import format_bytes
from tuning.estimate.types import Expected, ExperimentEstimate, SlotsEstimate

MINUTE = 60.0
EXACT = 0.005  # a range that is narrower than this share of its middle is shown as one number
UNKNOWN = "not known"


def estimate_text(estimate: ExperimentEstimate) -> str:
    """Return the table and the sentences below it."""
    return "\n".join(_lines(estimate))


def one_line(column: SlotsEstimate, device: str) -> str:
    """Return wall time and device-hours on one line."""
    if column.wall_seconds is None:
        return UNKNOWN
    wall = _range(column.wall_seconds, duration_text)
    return f"{wall} with {counted(column.slots, 'trial')} at a time, {device_hours(column, device)}"


def device_hours(column: SlotsEstimate, device: str) -> str:
    """Return the device-hours as '1 (0.83 to 1.25) GPU-hours'."""
    if column.device_seconds is None:
        return UNKNOWN
    return f"{_range(column.device_seconds.scaled(1 / HOUR), _number)} {device}-hours"


def duration_text(seconds: float) -> str:
    """Format seconds for people: '40 s', '9 min', '2 h 05 min', '3 d 4 h'."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    hours, minutes = divmod(round(seconds / MINUTE), 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(round(seconds / HOUR), 24)
    return f"{days} d {hours} h"


def _lines(estimate: ExperimentEstimate) -> Iterator[str]:
    studies = estimate.strategies * estimate.seeds
    seeds = counted(estimate.seeds, "seed")
    strategies = counted(estimate.strategies, "strategy", "strategies")
    yield f"{estimate.experiment}: {counted(studies, 'study', 'studies')}, of {strategies} with {seeds}"
    rows = [[name, *(show(column) for column in estimate.columns)] for name, show in _rows(estimate)]
    rows = [row for row in rows if any(row[1:])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()
    yield f"seconds of a trial: {estimate.source}"
    yield f"certain: {'; '.join(estimate.certain)}"
    yield from (f"- {sentence}" for sentence in estimate.ranges)


def _rows(estimate: ExperimentEstimate) -> list[tuple[str, Callable[[SlotsEstimate], str]]]:
    device, memory = estimate.device, estimate.trial_memory
    of_a_trial = "" if memory is None else f"about {format_bytes(memory)}"
    on_device = estimate.trial_device_memory
    return [
        ("trials at a time", lambda column: str(column.slots)),
        ("trials", _trials),
        ("optimizer steps", lambda column: "" if column.steps is None else _range(column.steps, _whole)),
        ("epochs of all", lambda column: _known(column.epochs, lambda epochs: _range(epochs, _number))),
        ("device-hours", lambda column: device_hours(column, device)),
        ("wall time", lambda column: _known(column.wall_seconds, lambda wall: _range(wall, duration_text))),
        ("memory of a trial", lambda column: of_a_trial),
        ("memory of all", lambda column: "" if column.memory is None else f"about {format_bytes(column.memory)}"),
        ("GPU memory of a trial", lambda column: "" if on_device is None else f"about {format_bytes(on_device)}"),
        ("disk", lambda column: UNKNOWN if column.disk is None else f"at most {format_bytes(column.disk)}"),
        ("money", lambda column: _money(column, estimate.currency)),
    ]


def _trials(column: SlotsEstimate) -> str:
    stopped = column.stopped
    if column.trials is None:
        return UNKNOWN
    if stopped is None or not stopped.high:
        return _range(column.trials, _whole)
    return f"{_range(column.trials, _whole)}; {_range(stopped, _whole)} of them stopped early"


def _money(column: SlotsEstimate, currency: str) -> str:
    return "" if column.money is None else f"{_range(column.money, _number)} {currency}"


def _known(value: Expected | None, show: Callable[[Expected], str]) -> str:
    return UNKNOWN if value is None else show(value)


def _range(value: Expected, show: Callable[[float], str]) -> str:
    """Format a range as '9 min (8 min to 11 min)'; as one number if it is none, or looks like none."""
    low, likely, high = map(show, value)
    if low == high or value.high - value.low <= EXACT * abs(value.likely):
        return likely
    return f"{likely} ({low} to {high})"


def _whole(number: float) -> str:
    return f"{number:,.0f}"


def _number(number: float) -> str:
    """Format with two or three significant digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number >= 1 else f"{number:.2g}"
