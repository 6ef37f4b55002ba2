"""A share of the driver's time, for what is worth no more of it."""

from __future__ import annotations

from trainables.machine import clock


class TimeBudget:
    """Earned as time goes by, and spent.

    Args:
        share: of all time.
        burst: seconds that can be saved up; there from the beginning.
    """

    def __init__(self, share: float, burst: float) -> None:
        self._share, self._burst = share, burst
        self._seconds, self._earned_until = burst, clock.monotonic()

    @property
    def left(self) -> bool:
        """Whether anything is left at this moment. What is begun then may take more: it is earned later."""
        now = clock.monotonic()
        earned = self._share * (now - self._earned_until)
        self._seconds, self._earned_until = min(self._burst, self._seconds + earned), now
        return self._seconds > 0

    def spend(self, seconds: float) -> None:
        """So long has it taken."""
        self._seconds -= seconds
