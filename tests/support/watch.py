"""A clock for tests, whose time moves only when a test moves it."""

from __future__ import annotations


class Watch:
    """A clock for `trainables.machine.clock.use`; `sleep` moves its time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
