"""What a study has cost so far, runs before an interruption included, and whether that is all it may.

The recorder tells time and reports; Tune's controller asks at each of its steps.
"""

from __future__ import annotations

from trainables.epochs import ROUNDING
from trainables.machine import clock
from trainables.reporting import Report
from tuning.budget import Limit, ResourceUsage
from tuning.outcome import StudyOutcome

HEARTBEAT = 5.0  # seconds between two records of the time that the study has taken


class BudgetTracker:
    """Counts what one study holds and trains.

    Args:
        limit: None: it may cost anything.
        slots: that the study holds.
        devices_per_trial: GPUs, or CPU cores without.
        before: the study as recorded by the runs before.
        cut_off: the last sign of a run before that never said that it had ended, in seconds since 1970 (UTC); None:
            there is none. What it held after that sign is not recorded. It counts as one `HEARTBEAT`, the most that a
            driver at work leaves unrecorded, and as more where its trials have left a report that came later.

    Attributes:
        reached: whether the limit has ended the study, in this run or before.
        slots: set it anew when the cluster changes.
    """

    def __init__(
        self,
        limit: Limit | None = None,
        slots: int = 1,
        devices_per_trial: float = 1.0,
        before: StudyOutcome | None = None,
        cut_off: float | None = None,
    ) -> None:
        self.limit, self.slots = limit, slots
        self.reached = before is not None and before.budget is not None and before.budget.reached
        self._devices = devices_per_trial
        self._now: float | None = None  # of the last `advance`, on the monotonic clock
        self._began = clock.time()
        self._held = ResourceUsage()
        if before is not None:
            slot_seconds = before.wall_seconds * before.slots if before.slot_seconds is None else before.slot_seconds
            self._held = ResourceUsage(before.wall_seconds, slot_seconds, before.device_seconds)
        self._cut_off = cut_off
        if cut_off is not None:
            self._count_unrecorded(HEARTBEAT)
        self._epochs = {} if before is None else {trial.id: trial.epochs_trained for trial in before.trials}
        self._epochs_sum = sum(self._epochs.values())

    @property
    def running(self) -> bool:
        """Whether the clock goes."""
        return self._now is not None

    @property
    def held(self) -> ResourceUsage:
        """Everything that the study has held, in the runs before too, up to the last `advance`."""
        return self._held._replace(time=clock.time())

    def start(self) -> None:
        """The clock goes from now on."""
        self._now = clock.monotonic()

    def advance(self) -> None:
        """Count the time up to now."""
        if self._now is None:
            return
        before, self._now = self._now, clock.monotonic()
        self._hold(self._now - before)

    def tell(self, report: Report) -> None:
        """A trial has told `report`. One of a run that was cut off shows how long that run was still at work: it came
        later than what is recorded of it, and before this run began."""
        if self._cut_off is not None and self._cut_off < report.time < self._began:
            own = report.device_seconds / self._devices if self._devices else 0.0  # clocks of nodes may differ by more
            self._count_unrecorded(min(report.time - self._cut_off, own))

    def trained(self, trial_id: str, epochs: float) -> None:
        """The trial has computed so many epochs by itself by now."""
        self._epochs_sum += epochs - self._epochs.get(trial_id, 0.0)
        self._epochs[trial_id] = epochs

    @property
    def spent(self) -> float:
        """In the limit's unit, up to the last `advance`; device-seconds without a limit."""
        unit = "device_seconds" if self.limit is None else self.limit.unit
        if unit == "epochs":
            return self._epochs_sum
        return self._held.wall_seconds if unit == "wall_seconds" else self._held.device_seconds

    @property
    def share(self) -> float | None:
        """Of the limit, up to 1; None without one."""
        return None if self.limit is None else min(1.0, self.spent / self.limit.amount)

    @property
    def all_spent(self) -> bool:
        """Whether nothing of the limit is left."""
        return self.reached or (self.limit is not None and self.spent >= self.limit.amount - ROUNDING)

    def _count_unrecorded(self, seconds: float) -> None:
        assert self._cut_off is not None
        seconds = max(0.0, min(seconds, self._began - self._cut_off))
        self._cut_off += seconds
        self._hold(seconds)

    def _hold(self, seconds: float) -> None:
        wall, slot_seconds, device_seconds, time = self._held
        in_slots = self.slots * seconds
        self._held = ResourceUsage(
            wall + seconds, slot_seconds + in_slots, device_seconds + in_slots * self._devices, time
        )
