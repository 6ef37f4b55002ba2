"""The clock of a study: the system's, or that of a simulation, in which hours pass in milliseconds.

Code that decides by time uses it: the cost of a trial, the end of a budget, a process that counts as hung. Code that
waits for other processes or the network uses the system's clock.
"""

from __future__ import annotations

import contextlib
import time as system
from collections.abc import Iterator
from typing import Protocol


class Clock(Protocol):
    """The functions of the module `time` that studies use."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""

    def time(self) -> float:
        """Seconds since 1970 (UTC)."""

    def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""


_clock: Clock = system


def monotonic() -> float:
    """Seconds since an arbitrary moment, by the clock in use; never goes back."""
    return _clock.monotonic()


def time() -> float:
    """Seconds since 1970 (UTC), by the clock in use."""
    return _clock.time()


def sleep(seconds: float) -> None:
    """Returns after `seconds` by the clock in use."""
    _clock.sleep(seconds)


@contextlib.contextmanager
def use(clock: Clock) -> Iterator[None]:
    """Makes `clock` the one in use in this process, for the block."""
    global _clock
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before
