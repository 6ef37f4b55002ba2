"""One study, which is one strategy x one seed: its trials, what was confirmed, what the test split says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from trainables.reporting import Report
from trainables.spec import Params, Value
from trainables.tasks.summary import DataSummary
from tuning.budget import BudgetUse, Price
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.outcome.trial import NodeLoss, TrialOutcome, TrialState


class StudyState(StrEnum):
    """Where a study (one strategy x one seed) stands."""

    RUNNING = "running"
    FINISHED = "finished"


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
    test_memory: EarlierEvaluations | None = (
        None  # None: no test rows, none that are known, or an older version's record
    )
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
        from tuning.outcome.display import study_repr

        return study_repr(self)

    def best(self) -> tuple[TrialOutcome, Report] | None:
        """The trial and the report with the best validation score; ties go to the earlier trial."""
        sign = 1 if self.mode == "max" else -1
        scored = [(t, r) for t in self.trials if (r := t.best_report(self.metric, self.mode)) is not None]
        return max(scored, key=lambda pair: sign * pair[1].metrics[self.metric], default=None)

    def judged_by(self) -> float | None:
        """The validation score that speaks for its chosen configuration: the mean over its confirmations, where there
        are any, else the best of the search; None: nothing has a score yet."""
        if trainings := self.confirmed():
            return _mean(trainings, self.metric)
        best = self.best()
        return None if best is None else best[1].metrics[self.metric]

    def chosen_params(self) -> dict[str, Value]:
        """The values that were searched, by hyperparameter, as they are in the chosen configuration; of a schedule
        those at its end. Values that are fixed in the spec, and defaults, are left out. Empty where nothing has a score
        yet.
        """
        if trainings := self.confirmed():
            first = trainings[0]
            (trial,) = (one for one in self.trials if one.id == first.trial)
            epoch, params = first.epoch, first.schedule[-1].params
        elif (best := self.best()) is not None:
            trial, (epoch, params) = best[0], (best[1].epoch, best[1].params)
        else:
            return {}
        return {name: params[name] for name in trial.proposed(epoch) if name in params}

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


def _mean(confirmations: Collection[Confirmation], metric: str) -> float:
    return sum((c.validation or {})[metric] for c in confirmations) / len(confirmations)


def best_study(studies: Iterable[StudyOutcome]) -> StudyOutcome | None:
    """The study whose chosen configuration has the best validation score; ties go to the earlier one. Where some are
    confirmed, of those: a search's own score is too good to stand beside confirmed ones. None: none has a score."""
    scored = [(study, score) for study in studies if (score := study.judged_by()) is not None]
    scored = [pair for pair in scored if pair[0].confirmed()] or scored
    best = max(scored, key=lambda pair: pair[1] if pair[0].mode == "max" else -pair[1], default=None)
    return None if best is None else best[0]
