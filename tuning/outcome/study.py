"""The outcome of one study (one strategy x one seed): trials, confirmations, test scores, final models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

from trainables.reporting import Report
from trainables.spec import Goal, Params, Value
from trainables.tasks.summary import DataSummary
from tuning.budget import BudgetUse, Price
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.outcome.trial import NodeLoss, TrialOutcome, TrialState
from tuning.pareto import LossPoint, non_dominated


class StudyState(StrEnum):
    """The state of a study. A study whose driver was killed stays RUNNING."""

    RUNNING = "running"
    FINISHED = "finished"


class Stretch(NamedTuple):
    """Hyperparameters that were in force from epoch `start` to `end`. A schedule is a sequence of these, from 0 on."""

    start: float
    end: float
    params: Params


@dataclass(frozen=True)
class ScoredRows:
    """Labels and predictions of one model for every row of a split, in an order that no seed changes."""

    labels: tuple[float, ...]  # (rows,); class numbers, or for a regression the true values
    predictions: tuple[float, ...]  # (rows,); the same

    def __repr__(self) -> str:
        return f"<ScoredRows: {len(self.labels)} rows>"


@dataclass(frozen=True)
class Confirmation:
    """One training from scratch of a configuration that the search chose, with another training seed."""

    rank: int  # 1: the study's best by the search's validation score
    trial: str  # id of the trial that the configuration is from
    epoch: float  # of the report that it was chosen by; it is trained up to here
    schedule: tuple[Stretch, ...]  # one stretch, unless PBT changed values during training
    searched: float  # the validation score that it was chosen by
    seed: int  # of the training: data order, model head, dropout
    device_seconds: float
    time: float  # when it ended; seconds since 1970 (UTC)
    validation: Mapping[str, float] | None = None  # None: it failed
    test: Mapping[str, float] | None = None  # of the best configuration only, evaluated once
    rows: ScoredRows | None = None  # that `test` is computed from
    error: str | None = None
    tested_at: float | None = None  # when it was evaluated on test; seconds since 1970 (UTC)


@dataclass(frozen=True)
class TestScore:
    """The test score of the study's chosen configuration, which is evaluated once."""

    trial: str  # trial id
    epoch: float
    params: Params  # in force when the chosen checkpoint was made
    metrics: Mapping[str, float]
    rows: int
    checkpoint: str
    time: float  # seconds since 1970 (UTC)
    scored: ScoredRows | None = None  # None: the trainable reports no rows, or an older version recorded it

    __test__ = False  # not a test class, whatever pytest thinks of its name


@dataclass(frozen=True)
class FinalModel:
    """A model that was trained on training and validation rows after the search.

    It is evaluated on test once. Its score may be hidden until the user reveals it.
    """

    folder: str  # that holds the model
    trial: str  # id of the trial that the configuration is from
    epoch: float
    seed: int  # of the training
    metrics: Mapping[str, float]  # on the test split; empty where it has no test rows, or the score is hidden
    rows: int
    device_seconds: float
    time: float  # seconds since 1970 (UTC)
    sealed: str | None = field(default=None, repr=False)  # the hidden score, packed (`tuning.selection.hidden_score`)

    @property
    def hidden(self) -> bool:
        """True if it has a test score that was not revealed."""
        return self.sealed is not None

    def same_as(self, other: FinalModel) -> bool:
        """True if both records are of the same training, perhaps before and after its score was revealed."""
        return (self.folder, self.trial, self.seed, self.time) == (other.folder, other.trial, other.seed, other.time)


@dataclass(frozen=True)
class StudyOutcome:
    """The outcome of one study: one strategy with one seed of its search."""

    strategy: str  # the strategy's label in the experiment, such as "pbt"
    kind: str  # the strategy's plug-in, such as "pbt"
    seed: int
    state: StudyState
    metric: str
    mode: Literal["max", "min"]
    trials: tuple[TrialOutcome, ...] = ()
    wall_seconds: float = 0.0  # from the start of the study to its end; interruptions not counted
    slots: int = 0  # trials that may run at the same time if no other job uses the cluster, at the start
    devices_per_trial: float = 0.0
    device: str = ""  # "GPU" or "CPU core"
    test: TestScore | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)  # versions of the libraries, data fingerprint, ...
    node_losses: tuple[NodeLoss, ...] = ()
    slot_seconds: float | None = None  # slots that it held or could hold, over time; None: `slots` all the time
    confirmations: tuple[Confirmation, ...] = ()  # in order of rank, then seed
    finals: tuple[FinalModel, ...] = ()  # in order of time
    budget: BudgetUse | None = None  # None: no budget
    price: Price | None = None
    data: DataSummary | None = None  # None: the trainable reads its own data, or an older version
    test_memory: EarlierEvaluations | None = None  # None: no known test rows, or an older version
    front_tests: tuple[TestScore, ...] = ()  # of the models on the front of several objectives, each evaluated once
    goal: Goal | None = None  # several objectives; `metric` is that of the first
    cost: float | None = None  # device-seconds as recorded; None: an older version recorded slots and time only

    @property
    def device_seconds(self) -> float:
        """The cost: devices times seconds for which the study held or could hold them, busy or idle, in all runs."""
        if self.cost is not None:
            return self.cost
        held = self.wall_seconds * self.slots if self.slot_seconds is None else self.slot_seconds
        return held * self.devices_per_trial

    @property
    def busy_device_seconds(self) -> float:
        """The part of the cost in which trials were at work, by their reports: work that was cut off is not in it."""
        return sum(trial.device_seconds for trial in self.trials)

    @property
    def mean_slots(self) -> float | None:
        """The slots that it held or could hold, on average over its time; None: unknown."""
        return None if self.slot_seconds is None or not self.wall_seconds else self.slot_seconds / self.wall_seconds

    @property
    def epochs_trained(self) -> float:
        """Epochs over the training split, summed over all trials."""
        return sum(trial.epochs_trained for trial in self.trials)

    @property
    def money(self) -> float | None:
        """The price of its device-seconds, in `price.currency`; None without a price."""
        return None if self.price is None else self.price.of(self.device_seconds)

    def __repr__(self) -> str:
        from tuning.outcome.display import study_repr

        return study_repr(self)

    def best(self) -> tuple[TrialOutcome, Report] | None:
        """Returns the trial and report with the best validation score, the earlier trial if tied; None without one."""
        sign = 1 if self.mode == "max" else -1
        scored = [(t, r) for t in self.trials if (r := t.best_report(self.metric, self.mode)) is not None]
        return max(scored, key=lambda pair: sign * pair[1].metrics[self.metric], default=None)

    def front(self) -> tuple[tuple[TrialOutcome, Report], ...]:
        """Returns the reports that keep all constraints, and of which no other is better in one objective and as good
        in all, the best one of the first objective first; of equal ones the earlier. () if there is one objective.
        """
        if self.goal is None:
            return ()
        reports = [(trial, report) for trial in self.trials for report in trial.reports]
        points = [LossPoint.of(self.goal, report.metrics) for _, report in reports]
        chosen = sorted(non_dominated(points), key=lambda position: points[position].losses)
        return tuple(reports[position] for position in chosen)

    def selection_score(self) -> float | None:
        """Returns the validation score of the chosen configuration.

        It is the mean over its confirmations if there are any, else the best score of the search; None without a score.
        """
        if trainings := self.confirmed():
            return _mean(trainings, self.metric)
        best = self.best()
        return None if best is None else best[1].metrics[self.metric]

    def chosen_params(self) -> dict[str, Value]:
        """Returns the searched hyperparameters of the chosen configuration, by name.

        A schedule gives the values at its end. Fixed values and defaults are left out. {} without a score.
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
        """Returns all trainings of the confirmed configuration with the best mean validation score.

        Ties go to the better rank. A configuration that failed with a seed is left out, and so is one that has fewer
        seeds than another so far. () if none is left.
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
        """Returns the number of the trial with that id.

        Raises:
            KeyError: the study has no such trial.
        """
        return {trial.id: trial.number for trial in self.trials}[trial_id]

    def name_of(self, trial_id: str) -> str:
        """Returns the display name of a trial, such as '0 (a8e2fb5c)'; the id of an unknown one."""
        return next((trial.name for trial in self.trials if trial.id == trial_id), trial_id)

    def count(self, state: TrialState) -> int:
        """Returns how many trials are in `state`."""
        return sum(trial.state is state for trial in self.trials)

    @property
    def all_failed(self) -> bool:
        """True if it has trials, and every one of them has failed."""
        return bool(self.trials) and self.count(TrialState.FAILED) == len(self.trials)

    def history(self, trial: TrialOutcome, report: Report) -> tuple[Report, ...]:
        """Returns the reports along which the weights behind `report` were trained, in order.

        These are the trial's own reports and, before an exploit, its donor's. Epochs increase; the params of each
        report were in force up to its epoch.

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
    """Returns the study whose chosen configuration has the best validation score; the earlier one if tied.

    If some studies are confirmed, only those compete: a search's own best score is biased upwards. None without scores.
    """
    scored = [(study, score) for study in studies if (score := study.selection_score()) is not None]
    scored = [pair for pair in scored if pair[0].confirmed()] or scored
    best = max(scored, key=lambda pair: pair[1] if pair[0].mode == "max" else -pair[1], default=None)
    return None if best is None else best[0]
