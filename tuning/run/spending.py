"""What a study has cost so far, runs before an interruption included, and whether that is all it may.

The recorder tells time and reports; Tune's controller asks at each of its steps.
"""

from __future__ import annotations

from trainables import clock
from trainables.epochs import ROUNDING
from tuning.budget import Limit
from tuning.outcome import StudyOutcome


class Spending:
    """Of one study.

    Args:
        limit: None: it may cost anything.
        slots: that the study holds.
        devices_per_trial: GPUs, or CPU cores without.
        before: the study as recorded by the runs before.

    Attributes:
        reached: whether the limit has ended the study, in this run or before.
        slots: set it anew when the cluster changes.
        seconds: wall seconds of this run, up to the last `advance`.
        slot_seconds: slots of this run, summed over them.
    """

    def __init__(
        self,
        limit: Limit | None = None,
        slots: int = 1,
        devices_per_trial: float = 1.0,
        before: StudyOutcome | None = None,
    ) -> None:
        self.limit, self.slots = limit, slots
        self.seconds = self.slot_seconds = 0.0
        self.reached = before is not None and before.budget is not None and before.budget.reached
        self._devices = devices_per_trial
        self._now: float | None = None  # of the last `advance`, on the monotonic clock
        self._before = (0.0, 0.0) if before is None else (before.wall_seconds, before.device_seconds)
        self._epochs = {} if before is None else {trial.id: trial.epochs_trained for trial in before.trials}
        self._epochs_sum = sum(self._epochs.values())

    @property
    def running(self) -> bool:
        """Whether the clock goes."""
        return self._now is not None

    def start(self) -> None:
        """The clock goes from now on."""
        self._now = clock.monotonic()

    def advance(self) -> None:
        """Count the time up to now."""
        if self._now is None:
            return
        before, self._now = self._now, clock.monotonic()
        self.seconds += self._now - before
        self.slot_seconds += self.slots * (self._now - before)

    def trained(self, trial_id: str, epochs: float) -> None:
        """The trial has computed so many epochs by itself by now."""
        self._epochs_sum += epochs - self._epochs.get(trial_id, 0.0)
        self._epochs[trial_id] = epochs

    @property
    def spent(self) -> float:
        """In the limit's unit, up to the last `advance`; device-seconds without a limit."""
        wall, devices = self._before
        unit = "device_seconds" if self.limit is None else self.limit.unit
        if unit == "epochs":
            return self._epochs_sum
        return wall + self.seconds if unit == "wall_seconds" else devices + self.slot_seconds * self._devices

    @property
    def share(self) -> float | None:
        """Of the limit, up to 1; None without one."""
        return None if self.limit is None else min(1.0, self.spent / self.limit.amount)

    @property
    def all_spent(self) -> bool:
        """Whether nothing of the limit is left."""
        return self.reached or (self.limit is not None and self.spent >= self.limit.amount - ROUNDING)
