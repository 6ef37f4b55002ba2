"""The outcome of one trial: its reports, its lineage, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Params


class TrialState(StrEnum):
    """The state of a trial.

    STOPPED: by its strategy or a spent budget, before its full epochs. A trial whose driver was killed stays RUNNING.
    """

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Exploit:
    """One PBT exploit: a member copied a donor's weights and optimizer state and continued with new values."""

    epoch: float  # of the donor's checkpoint
    donor: str  # trial id
    old: Params  # the member's values before it
    new: Params  # its values from the next optimizer step on
    time: float  # seconds since 1970 (UTC)
    reports: int  # number of the member's reports before it
    donor_reports: int  # number of the donor's reports up to its checkpoint


@dataclass(frozen=True)
class NodeLoss:
    """A trial lost its node and continued on another one. It does not count as a failure of the trial."""

    trial: str  # trial id
    node: str  # its address
    reported: float  # the last epoch that the trial had reported
    epoch: float  # of the checkpoint that it continued from; later epochs were recomputed
    time: float  # when the loss was noticed; seconds since 1970 (UTC)


def epochs_trained(reports: Sequence[Report], lineage: Sequence[Exploit]) -> float:
    """Returns the epochs that a trial trained itself; see `TrialOutcome.epochs_trained`."""
    trained, position = 0.0, 0.0
    taken_over = {exploit.reports: exploit.epoch for exploit in lineage}
    for index, report in enumerate(reports):
        trained += report.epoch - taken_over.get(index, position)
        position = report.epoch
    return trained


def trial_name(number: int, trial_id: str) -> str:
    """Returns the display name of a trial, such as '0 (a8e2fb5c)'."""
    return f"{number} ({trial_id})"


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of one trial: its reports in order, and how it ended."""

    id: str  # Tune's trial id
    number: int  # 0, 1, ... within the study, in order of start
    state: TrialState
    params: Params  # proposed at the start; `reports` hold the values in force later
    reports: tuple[Report, ...] = ()
    lineage: tuple[Exploit, ...] = ()
    checkpoints: Mapping[float, str] = field(default_factory=dict)  # epoch -> folder, of those that still exist
    error: str | None = None  # one line; the traceback is in the trial's folder
    # Per report: the cost of the whole study by then, in device-seconds over all its runs. None or (): an older version
    # did not record it.
    costs: tuple[float | None, ...] = ()

    @property
    def name(self) -> str:
        """The display name, such as '0 (a8e2fb5c)'."""
        return trial_name(self.number, self.id)

    @property
    def epochs(self) -> float:
        """Epochs behind its current weights: after an exploit, the donor's and its own."""
        return self.reports[-1].epoch if self.reports else 0.0

    @property
    def epochs_trained(self) -> float:
        """Epochs that this trial trained itself: after an exploit, only its own."""
        return epochs_trained(self.reports, self.lineage)

    @property
    def device_seconds(self) -> float:
        """The cost of the trial's reports: training, evaluation, checkpoints."""
        return sum(report.device_seconds for report in self.reports)

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"<TrialOutcome {self.name}: {self.state.value}, {len(self.reports)} reports; {params}>"

    @property
    def costs_of_reports(self) -> tuple[float | None, ...]:
        """`costs` with one entry per report: None where nothing is recorded."""
        return self.costs or (None,) * len(self.reports)

    def proposed(self, at: Report | float) -> Params:
        """Returns the values that were proposed for the training up to a report of the trial.

        These are the first values, or those of the last exploit before it. In a conditional space the two may have
        different names.

        Args:
            at: the report; or an epoch, for the last report up to it: a member of a population may pass one twice.
        """
        if isinstance(at, Report):
            number = self.reports.index(at)
        else:
            number = max((n for n, report in enumerate(self.reports) if report.epoch <= at + ROUNDING), default=-1)
        return next((one.new for one in reversed(self.lineage) if one.reports <= number), self.params)

    def best_report(self, metric: str, mode: Literal["max", "min"]) -> Report | None:
        """Returns the best report by `metric`, the earliest if tied; None before the first."""
        sign = 1 if mode == "max" else -1
        return max(self.reports, key=lambda r: sign * r.metrics[metric], default=None)
