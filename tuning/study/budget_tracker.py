"""Counts the device-seconds, epochs and wall time of a study over all its runs, and whether its budget is spent.

In: the cost of the runs before (`Spent`), and the time and the reports of this one, from the recorder. Out: the cost up
to now, which Tune's controller compares with the limit at each of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainables.epochs import ROUNDING
from trainables.machine import clock
from trainables.reporting import Report
from tuning.budget import Limit, ResourceUsage
from tuning.outcome import StudyOutcome

HEARTBEAT = 5.0  # seconds between two records of the time that the study has taken


@dataclass(frozen=True)
class Spent:
    """The cost of the runs of a study before this one.

    Args:
        held: the time, the slots and the devices that it held.
        epochs: passes over the training split by trial id.
        reached: True if its budget is spent.
        interrupted_at: the last record of a run that was killed, in seconds since 1970 (UTC); None: the newest run has
            recorded its end. What a killed run held afterwards is not recorded.
    """

    held: ResourceUsage = field(default_factory=ResourceUsage)
    epochs: Mapping[str, float] = field(default_factory=dict)
    reached: bool = False
    interrupted_at: float | None = None


def spent_by(study: StudyOutcome, interrupted_at: float | None = None) -> Spent:
    """Return what a study has cost as it is recorded; see `Spent`."""
    slot_seconds = study.wall_seconds * study.slots if study.slot_seconds is None else study.slot_seconds
    held = ResourceUsage(study.wall_seconds, slot_seconds, study.device_seconds)
    epochs = {trial.id: trial.epochs_trained for trial in study.trials}
    return Spent(held, epochs, study.budget is not None and study.budget.reached, interrupted_at)


class BudgetTracker:
    """Counts what one study holds and trains.

    A run that was cut off counts as one `HEARTBEAT` beyond its last sign, the most that a driver at work leaves
    unrecorded, and as more where its trials have left a report that came later.

    Args:
        limit: None: the study may cost anything.
        slots: that the study holds or could hold; those that other jobs of the cluster hold are not among them.
        devices_per_trial: GPUs, or CPU cores where a trial holds no GPU.
        before: the cost of the runs before this one.

    Attributes:
        reached: True if the limit has ended the study, in this run or before.
        slots: set it anew when the cluster changes.
    """

    def __init__(
        self,
        limit: Limit | None = None,
        slots: int = 1,
        devices_per_trial: float = 1.0,
        before: Spent = Spent(),
    ) -> None:
        self.limit, self.slots, self.reached = limit, slots, before.reached
        self._devices = devices_per_trial
        self._now: float | None = None  # of the last `advance`, on the monotonic clock
        self._began = clock.time()
        self._held, self._epochs, self._interrupted_at = before.held, dict(before.epochs), before.interrupted_at
        self._epochs_sum = sum(self._epochs.values())
        if self._interrupted_at is not None:
            self._count_unrecorded(HEARTBEAT)

    @property
    def running(self) -> bool:
        """True if the clock goes."""
        return self._now is not None

    @property
    def held(self) -> ResourceUsage:
        """The time, slots and devices that the study has held in all its runs, up to the last `advance`."""
        return self._held._replace(time=clock.time())

    def start(self) -> None:
        """Start the clock."""
        self._now = clock.monotonic()

    def advance(self) -> None:
        """Count the time up to now; nothing before `start`."""
        if self._now is None:
            return
        before, self._now = self._now, clock.monotonic()
        self._hold(self._now - before)

    def add_report(self, report: Report) -> None:
        """Use a report of a run that was cut off: it shows how long that run was still at work.

        Such a report came after the last sign of that run and before this run began.
        """
        if self._interrupted_at is not None and self._interrupted_at < report.time < self._began:
            own = report.device_seconds / self._devices if self._devices else 0.0  # clocks of nodes may differ by more
            self._count_unrecorded(min(report.time - self._interrupted_at, own))

    def set_epochs(self, trial_id: str, epochs: float) -> None:
        """Set the number of epochs that the trial has computed itself so far, in all runs."""
        self._epochs_sum += epochs - self._epochs.get(trial_id, 0.0)
        self._epochs[trial_id] = epochs

    @property
    def spent(self) -> float:
        """The cost up to the last `advance`, in the limit's unit; in device-seconds without a limit."""
        unit = "device_seconds" if self.limit is None else self.limit.unit
        if unit == "epochs":
            return self._epochs_sum
        return self._held.wall_seconds if unit == "wall_seconds" else self._held.device_seconds

    @property
    def share(self) -> float | None:
        """The share of the limit that is spent, from 0 to 1; None without a limit."""
        return None if self.limit is None else min(1.0, self.spent / self.limit.amount)

    @property
    def all_spent(self) -> bool:
        """True if nothing of the limit is left."""
        return self.reached or (self.limit is not None and self.spent >= self.limit.amount - ROUNDING)

    def _count_unrecorded(self, seconds: float) -> None:
        assert self._interrupted_at is not None
        seconds = max(0.0, min(seconds, self._began - self._interrupted_at))
        self._interrupted_at += seconds
        self._hold(seconds)

    def _hold(self, seconds: float) -> None:
        wall, slot_seconds, device_seconds, time = self._held
        in_slots = self.slots * seconds
        self._held = ResourceUsage(
            wall + seconds, slot_seconds + in_slots, device_seconds + in_slots * self._devices, time
        )
