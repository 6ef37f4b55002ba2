"""What came out: frozen results, as the study store gives them back. No I/O.

This is the documented schema of `tunefleet results --json` (see `to_json`); `SCHEMA_VERSION` moves when a key does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from trainables.epochs import ROUNDING
from trainables.reporting import Report
from trainables.spec import Params, Value
from trainables.tasks.summary import DataSummary
from tuning.budget import BudgetUse, Price
from tuning.outcome.earlier_looks import EarlierLooks

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
# Attributes of a study: who proposes its trials' first values, and how many of the first are random draws all the same.
ORIGIN, RANDOM_FIRST = "origin", "random_first"
RANDOM_DRAW = "random draw"  # an origin
# Attributes of studies of an experiment that grows: which verdict they come to (1, 2, ...), and how many are planned.
VERDICT, VERDICTS = "verdict", "verdicts"
HP_SPACE = "hp_space"  # the attribute of a study whose values are what a function asks for: its name


class TrialState(StrEnum):
    """Where a trial stands. Stopped: by its strategy, or where its study's budget was spent, before its full epochs.
    Interrupted trials stay running."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class StudyState(StrEnum):
    """Where a study (one strategy x one seed) stands."""

    RUNNING = "running"
    FINISHED = "finished"


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
        from tuning.notebook.shown import trial_line

        return trial_line(self)

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


class Stretch(NamedTuple):
    """The values in force over a stretch of epochs. A schedule is stretches in order, the first from 0 on."""

    start: float
    end: float
    params: Params


@dataclass(frozen=True)
class ScoredRows:
    """What a model said to every row of a split, in the split's own order, which does not depend on any seed."""

    labels: tuple[float, ...]  # class numbers; for a regression the true values
    predictions: tuple[float, ...]

    def __repr__(self) -> str:
        return f"<ScoredRows: {len(self.labels)} rows>"


@dataclass(frozen=True)
class Confirmation:
    """One training, from the start, of a configuration that a search has chosen, with a training seed of its own."""

    rank: int  # 1: the study's best by the search's validation score
    trial: str  # trial id that the configuration is from
    epoch: float  # of the report that it was chosen by: trained up to there
    schedule: tuple[Stretch, ...]  # one stretch, unless PBT changed the values on the way
    searched: float  # the validation score that it was chosen by
    seed: int  # of the training: data order, model head, dropout
    device_seconds: float
    time: float  # when it ended; seconds since 1970 (UTC)
    validation: Mapping[str, float] | None = None  # None: it failed
    test: Mapping[str, float] | None = None  # of the winner alone, once
    rows: ScoredRows | None = None  # behind `test`
    error: str | None = None
    tested_at: float | None = None  # when the test split was looked at; seconds since 1970 (UTC)


@dataclass(frozen=True)
class TestScore:
    """The one look at the test split, for the study's chosen configuration."""

    trial: str  # trial id
    epoch: float
    params: Params  # in force when the chosen checkpoint was made
    metrics: Mapping[str, float]
    rows: int
    checkpoint: str
    time: float  # seconds since 1970 (UTC)
    scored: ScoredRows | None = None  # None: a trainable that tells no rows, or recorded by an older version

    __test__ = False  # not a test class, whatever pytest thinks of its name


@dataclass(frozen=True)
class FinalModel:
    """A model that was trained on the training and validation rows after the search, with its one look at test, or with
    a score that nobody has seen yet."""

    folder: str  # that it was written to
    trial: str  # trial id that the configuration is from
    epoch: float
    seed: int  # of the training
    metrics: Mapping[str, float]  # on the test split; empty where it has no test rows, or the score is hidden
    rows: int
    device_seconds: float
    time: float  # seconds since 1970 (UTC)
    sealed: str | None = field(default=None, repr=False)  # the hidden score, packed (`finish.hidden_score`)

    @property
    def hidden(self) -> bool:
        """True if it has a test score that nobody has seen."""
        return self.sealed is not None

    def same_as(self, other: FinalModel) -> bool:
        """True if both tell of one training, before and after its score was shown."""
        return (self.folder, self.trial, self.seed, self.time) == (other.folder, other.trial, other.seed, other.time)


@dataclass(frozen=True)
class StudyOutcome:
    """One strategy x one seed."""

    strategy: str  # the strategy's label in the experiment, such as "pbt"
    kind: str  # the plug-in, such as "pbt"
    seed: int
    state: StudyState
    metric: str
    mode: Literal["max", "min"]
    trials: tuple[TrialOutcome, ...] = ()
    wall_seconds: float = 0.0  # from the start of the study to its end; interruptions not counted
    slots: int = 0  # trials that may run at the same time, at the start
    devices_per_trial: float = 0.0
    device: str = ""  # "GPU" or "CPU core"
    test: TestScore | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)  # versions of the libraries, data fingerprint, ...
    node_losses: tuple[NodeLoss, ...] = ()
    slot_seconds: float | None = None  # slots that were there, summed over time; None: `slots` all the time
    confirmations: tuple[Confirmation, ...] = ()  # in order of rank, then seed
    finals: tuple[FinalModel, ...] = ()  # in order of time
    budget: BudgetUse | None = None  # None: it had none
    price: Price | None = None
    data: DataSummary | None = None  # None: a trainable that reads its own, or recorded by an older version
    test_memory: EarlierLooks | None = None  # None: no test rows, none that are known, or an older version's record
    cost: float | None = None  # device-seconds, as recorded; None: by a version that recorded slots and time alone

    @property
    def device_seconds(self) -> float:
        """The cost: all devices of all slots, for as long as the study held them, busy or idle, in all its runs."""
        if self.cost is not None:
            return self.cost
        held = self.wall_seconds * self.slots if self.slot_seconds is None else self.slot_seconds
        return held * self.devices_per_trial

    @property
    def epochs_trained(self) -> float:
        """Passes over the training split, of all trials together."""
        return sum(trial.epochs_trained for trial in self.trials)

    @property
    def money(self) -> float | None:
        """What its device-seconds cost, in `price.currency`; None without a price."""
        return None if self.price is None else self.price.of(self.device_seconds)

    def __repr__(self) -> str:
        from tuning.notebook.shown import study_line

        return study_line(self)

    def best(self) -> tuple[TrialOutcome, Report] | None:
        """The trial and the report with the best validation score; ties go to the earlier trial."""
        sign = 1 if self.mode == "max" else -1
        scored = [(t, r) for t in self.trials if (r := t.best_report(self.metric, self.mode)) is not None]
        return max(scored, key=lambda pair: sign * pair[1].metrics[self.metric], default=None)

    def confirmed(self) -> tuple[Confirmation, ...]:
        """All trainings of the configuration with the best mean validation score over its seeds; ties go to the better
        rank. One that failed with a seed is out. () where none is left. Of a study that is still being confirmed: the
        best so far among those that have as many seeds as any.
        """
        by_rank: dict[int, list[Confirmation]] = {}
        for confirmation in self.confirmations:
            by_rank.setdefault(confirmation.rank, []).append(confirmation)
        seeds = max(map(len, by_rank.values()), default=0)
        whole = [group for group in by_rank.values() if len(group) == seeds and all(c.validation for c in group)]
        sign = 1 if self.mode == "max" else -1
        best = max(whole, key=lambda group: sign * _mean(group, self.metric), default=None)
        return tuple(best or ())

    def number_of(self, trial_id: str) -> int:
        """The number of the trial of this study whose id is given.

        Raises:
            KeyError: it has no such trial.
        """
        return {trial.id: trial.number for trial in self.trials}[trial_id]

    def name_of(self, trial_id: str) -> str:
        """A trial of this study as people are told of it: '0 (a8e2fb5c)'; of an unknown one the id."""
        return next((trial.name for trial in self.trials if trial.id == trial_id), trial_id)

    def count(self, state: TrialState) -> int:
        """How many trials are in `state`."""
        return sum(trial.state is state for trial in self.trials)

    @property
    def all_failed(self) -> bool:
        """True if it has trials, and every one of them has failed."""
        return bool(self.trials) and self.count(TrialState.FAILED) == len(self.trials)

    def history(self, trial: TrialOutcome, report: Report) -> tuple[Report, ...]:
        """What the weights behind `report` went through, in order: the trial's own reports and, before an exploit,
        its donor's. Epochs grow along it; the params of each report were in force up to its epoch.

        Raises:
            ValueError: `report` is not one of the trial's.
            KeyError: a donor is not among this study's trials.
        """
        by_id = {member.id: member for member in self.trials}
        count = trial.reports.index(report) + 1
        parts: list[tuple[Report, ...]] = []
        while True:
            exploit = max((x for x in trial.lineage if x.reports < count), key=lambda x: x.reports, default=None)
            parts.append(trial.reports[exploit.reports if exploit else 0 : count])
            if exploit is None:
                return tuple(passed for part in reversed(parts) for passed in part)
            trial, count = by_id[exploit.donor], exploit.donor_reports


@dataclass(frozen=True)
class ExperimentOutcome:
    """All studies of one experiment."""

    name: str
    digest: str  # of the spec that made it
    studies: tuple[StudyOutcome, ...] = ()

    def study(self, strategy: str, seed: int) -> StudyOutcome:
        """The study of that strategy (its label) and seed.

        Raises:
            KeyError: there is none.
        """
        for study in self.studies:
            if (study.strategy, study.seed) == (strategy, seed):
                return study
        raise KeyError(f"{self.name}: no study of strategy {strategy!r} with seed {seed}")

    @property
    def data(self) -> DataSummary | None:
        """The summary of the data: the same for all studies, so that of the first that has told it."""
        return next((study.data for study in self.studies if study.data is not None), None)

    @property
    def test_memory(self) -> EarlierLooks | None:
        """What earlier experiments have to do with the rows: the same for all studies."""
        return next((study.test_memory for study in self.studies if study.test_memory is not None), None)

    @property
    def best_params(self) -> dict[str, Value]:
        """The values that the winner's strategy has chosen, by hyperparameter; the winner is that of `compare`.

        Raises:
            InputError: no trial has a score yet.
        """
        from tuning.comparison import compare

        return compare(self).best_params

    def to_dataframe(self, table: str = "trials") -> pd.DataFrame:
        """A pandas frame of "trials", "reports", "studies" or "confirmations", with the columns of `tunefleet export`.

        Raises:
            InputError: there is no such table.
        """
        from tuning.notebook.frames import outcome_frame

        return outcome_frame(self, table)

    def __repr__(self) -> str:
        from tuning.notebook.shown import outcome_line

        return outcome_line(self)

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from tuning.notebook.shown import outcome_html

        return outcome_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and texts; enumerations as their values, reports as mappings. What models
        said to single rows is left out."""
        from tuning.outcome.as_json import outcome_json

        return outcome_json(self)


def _mean(confirmations: Collection[Confirmation], metric: str) -> float:
    return sum((c.validation or {})[metric] for c in confirmations) / len(confirmations)
