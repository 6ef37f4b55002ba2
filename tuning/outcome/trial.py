"""One trial of a study: every report, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Params


class TrialState(StrEnum):
    """Where a trial stands. Stopped: by its strategy, or where its study's budget was spent, before its full epochs.
    Interrupted trials stay running."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Exploit:
    """A PBT member took over a donor's weights and moments, and went on with new values."""

    epoch: float  # of the donor's checkpoint
    donor: str  # trial id
    old: Params  # the member's values before
    new: Params  # and from the next optimizer step on
    time: float  # seconds since 1970 (UTC)
    reports: int  # how many of the member's reports came before
    donor_reports: int  # how many of the donor's led to its checkpoint


@dataclass(frozen=True)
class NodeLoss:
    """A trial's node left the cluster; the trial went on elsewhere. Not a failure of the trial's own."""

    trial: str  # trial id
    node: str  # its address
    reported: float  # the last epoch that it had told
    epoch: float  # of the checkpoint that it went on from; the rest was computed again
    time: float  # when it was noticed; seconds since 1970 (UTC)


def epochs_trained(reports: Sequence[Report], lineage: Sequence[Exploit]) -> float:
    """The passes over the training split that a trial has computed itself; see `TrialOutcome.epochs_trained`."""
    trained, position = 0.0, 0.0
    taken_over = {exploit.reports: exploit.epoch for exploit in lineage}
    for index, report in enumerate(reports):
        trained += report.epoch - taken_over.get(index, position)
        position = report.epoch
    return trained


def trial_name(number: int, trial_id: str) -> str:
    """A trial as people are told of it, everywhere: '0 (a8e2fb5c)'."""
    return f"{number} ({trial_id})"


@dataclass(frozen=True)
class TrialOutcome:
    """One trial: every report, in order, and how it ended."""

    id: str  # Tune's trial id
    number: int  # 0, 1, ... within the study, in order of start
    state: TrialState
    params: Params  # proposed at the start; the values in force later are in `reports`
    reports: tuple[Report, ...] = ()
    lineage: tuple[Exploit, ...] = ()
    checkpoints: Mapping[float, str] = field(default_factory=dict)  # epoch -> folder; only those that still exist
    error: str | None = None  # one line; the traceback is in the trial's folder
    costs: tuple[float | None, ...] = ()  # one per report: device-seconds that the whole study had cost by then, in the
    # runs before an interruption too; None, or (): recorded by a version that did not tell

    @property
    def name(self) -> str:
        """The trial as people are told of it: '0 (a8e2fb5c)'."""
        return trial_name(self.number, self.id)

    @property
    def epochs(self) -> float:
        """Passes over the training split in the trial's own history (after an exploit: the donor's and its own)."""
        return self.reports[-1].epoch if self.reports else 0.0

    @property
    def epochs_trained(self) -> float:
        """Passes over the training split that this trial computed itself: after an exploit only what it added."""
        return epochs_trained(self.reports, self.lineage)

    @property
    def device_seconds(self) -> float:
        """What the trial's reports cost: training, evaluation, checkpoints."""
        return sum(report.device_seconds for report in self.reports)

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"<TrialOutcome {self.name}: {self.state.value}, {len(self.reports)} reports; {params}>"

    @property
    def costs_of_reports(self) -> tuple[float | None, ...]:
        """`costs`, one per report also where nothing is recorded of them."""
        return self.costs or (None,) * len(self.reports)

    def proposed(self, epoch: float) -> Params:
        """The values that were proposed for its training up to `epoch`: what it began with, or what the last exploit
        before that put in their place. In a space with branches the two may have different names."""
        number = sum(report.epoch <= epoch + ROUNDING for report in self.reports) - 1
        return next((one.new for one in reversed(self.lineage) if one.reports <= number), self.params)

    def best_report(self, metric: str, mode: Literal["max", "min"]) -> Report | None:
        """The best report by `metric`, the earliest among equals; None before the first."""
        sign = 1 if mode == "max" else -1
        return max(self.reports, key=lambda r: sign * r.metrics[metric], default=None)
