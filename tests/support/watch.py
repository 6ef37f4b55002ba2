"""A clock for tests: time stands still until somebody moves it on."""

from __future__ import annotations


class Watch:
    """For `trainables.machine.clock.use`. To sleep moves it on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
