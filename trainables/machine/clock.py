"""The clock of a study: the system's, or one of a simulation, in which hours pass in milliseconds.

What decides by time asks here: what a trial costs, when a budget is spent, when a process counts as hung. What waits
for other processes, or for the network, asks the system.
"""

from __future__ import annotations

import contextlib
import time as system
from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """Seconds that pass."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    def time(self) -> float:
        """Seconds since 1970."""

    def sleep(self, seconds: float) -> None:
        """Return when they have passed."""


_clock: Clock = system


def monotonic() -> float:
    """Seconds since some moment, by the clock in use; never goes back."""
    return _clock.monotonic()


def time() -> float:
    """Seconds since 1970, by the clock in use."""
    return _clock.time()


def sleep(seconds: float) -> None:
    """Return when these seconds have passed by the clock in use."""
    _clock.sleep(seconds)


@contextlib.contextmanager
def use(clock: Clock) -> Iterator[None]:
    """Make `clock` the one in use, in this process, for the block."""
    global _clock
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before
