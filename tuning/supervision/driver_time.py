"""Limits how much of the driver's time something may take."""

from __future__ import annotations

from trainables.machine import clock


class DriverTime:
    """Seconds that are earned as time goes by, and spent.

    Args:
        share: of all time that is earned.
        burst: seconds that can be saved up; available from the beginning.
    """

    def __init__(self, share: float, burst: float) -> None:
        self._share, self._burst = share, burst
        self._seconds, self._earned_until = burst, clock.monotonic()

    @property
    def left(self) -> bool:
        """True if anything is left now. What is begun then may take more: it is earned later."""
        now = clock.monotonic()
        earned = self._share * (now - self._earned_until)
        self._seconds, self._earned_until = min(self._burst, self._seconds + earned), now
        return self._seconds > 0

    def spend(self, seconds: float) -> None:
        """Counts `seconds` that were used."""
        self._seconds -= seconds
