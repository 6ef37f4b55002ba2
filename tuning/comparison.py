"""Which strategy was worth its cost: outcomes in, one row per strategy and a verdict out. Pure, no I/O.

Deliberately modest: the interval covers the sampling of test rows and nothing else, and where the data cannot carry a
verdict there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from trainables.reporting import Report
from trainables.spec import Params
from tuning.caveats import caveats_of, verdict_of
from tuning.outcome import ExperimentOutcome, Stretch, StudyOutcome, StudyState, TrialState

__all__ = ["Chosen", "Comparison", "Interval", "StrategyRow", "StudyRow", "compare", "curve", "wilson"]

PROPORTIONS = frozenset({"accuracy"})  # metrics that are a share of right rows: only these have an interval here
Z95 = 1.959963984540054


class Interval(NamedTuple):
    """A 95 % interval: had other test rows been drawn, the same model's score. Not another seed, not another search."""

    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Chosen:
    """A configuration with the score that it was chosen by."""

    trial: str
    epoch: float
    validation: float
    params: Params  # in force at the end
    searched: tuple[str, ...]  # names among them that the strategy chose; the others are fixed, or defaults
    schedule: tuple[Stretch, ...]  # one stretch, unless an exploit changed the values on the way


@dataclass(frozen=True)
class StudyRow:
    """One strategy x one seed."""

    seed: int
    finished: bool
    chosen: Chosen | None  # None before the first report
    test: float | None  # of the chosen configuration
    interval: Interval | None  # around `test`, where the metric is a proportion
    device_seconds: float
    epochs: float  # trained by all trials together
    reports: int


@dataclass(frozen=True)
class StrategyRow:
    """One strategy over its seeds. Costs and counts are sums; scores are those of `best`, and medians."""

    strategy: str
    kind: str
    studies: tuple[StudyRow, ...]
    best: StudyRow | None  # the seed with the best validation score
    median_validation: float | None
    median_test: float | None
    device_seconds: float
    epochs: float
    trials: int
    completed: int
    stopped: int
    failed: int
    running: int


@dataclass(frozen=True)
class Comparison:
    """All strategies of one experiment, in its order."""

    experiment: str
    metric: str
    mode: Literal["max", "min"]
    device: str
    rows: tuple[StrategyRow, ...]
    best: StrategyRow | None  # the strategy with the best validation score: its configuration is the one to copy
    verdict: str
    caveats: tuple[str, ...]


def compare(outcome: ExperimentOutcome) -> Comparison:
    """The comparison of all strategies of `outcome`, whether its studies are finished or not.

    Raises:
        ValueError: the outcome holds no study.
    """
    if not outcome.studies:
        raise ValueError(f"experiment {outcome.name!r} holds no study: nothing to compare; run it first")
    first = outcome.studies[0]
    by_strategy: dict[str, list[StudyOutcome]] = {}
    for study in outcome.studies:
        by_strategy.setdefault(study.strategy, []).append(study)
    rows = tuple(_strategy_row(studies) for studies in by_strategy.values())
    return Comparison(
        experiment=outcome.name,
        metric=first.metric,
        mode=first.mode,
        device=first.device,
        rows=rows,
        best=_best(rows, first.mode),
        verdict=verdict_of(rows, first.metric, first.mode),
        caveats=caveats_of(rows, outcome.studies),
    )


def curve(study: StudyOutcome) -> list[tuple[float, float]]:
    """The best validation score so far over the cost so far, one point per report in order of time.

    Cost: device-seconds of the reports up to there; idle devices and starts are not in it.
    """
    reports = sorted((report for trial in study.trials for report in trial.reports), key=lambda report: report.time)
    if not reports:
        return []
    cost = np.cumsum([report.device_seconds for report in reports])
    so_far = np.maximum if study.mode == "max" else np.minimum
    best = so_far.accumulate([report.metrics[study.metric] for report in reports])
    return list(zip(cost.tolist(), best.tolist(), strict=True))


def wilson(share: float, rows: int) -> Interval:
    """Wilson's 95 % interval for a share of right rows among `rows` (E. B. Wilson, JASA 22, 1927, 209-212)."""
    z2 = Z95**2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return Interval(centre - half, centre + half, rows)


def _strategy_row(studies: Sequence[StudyOutcome]) -> StrategyRow:
    rows = tuple(_study_row(study) for study in studies)
    mode = studies[0].mode

    def count(state: TrialState) -> int:
        return sum(study.count(state) for study in studies)

    return StrategyRow(
        strategy=studies[0].strategy,
        kind=studies[0].kind,
        studies=rows,
        best=_best_study(rows, mode),
        median_validation=_median(row.chosen.validation for row in rows if row.chosen),
        median_test=_median(row.test for row in rows if row.test is not None),
        device_seconds=sum(row.device_seconds for row in rows),
        epochs=sum(row.epochs for row in rows),
        trials=sum(len(study.trials) for study in studies),
        completed=count(TrialState.COMPLETED),
        stopped=count(TrialState.STOPPED),
        failed=count(TrialState.FAILED),
        running=count(TrialState.RUNNING),
    )


def _study_row(study: StudyOutcome) -> StudyRow:
    test = None if study.test is None else study.test.metrics.get(study.metric)
    return StudyRow(
        seed=study.seed,
        finished=study.state is StudyState.FINISHED,
        chosen=_chosen(study),
        test=test,
        interval=_interval(study),
        device_seconds=study.device_seconds,
        epochs=sum(trial.epochs_trained for trial in study.trials),
        reports=sum(len(trial.reports) for trial in study.trials),
    )


def _interval(study: StudyOutcome) -> Interval | None:
    """Around the test score, where it is a share of rows: a trainable in closed form has none."""
    test = study.test
    if test is None or not test.rows or study.metric not in PROPORTIONS or study.metric not in test.metrics:
        return None
    return wilson(test.metrics[study.metric], test.rows)


def _chosen(study: StudyOutcome) -> Chosen | None:
    best = study.best()
    if best is None:
        return None
    trial, report = best
    schedule = _stretches(study.history(trial, report))
    return Chosen(trial.id, report.epoch, report.metrics[study.metric], report.params, tuple(trial.params), schedule)


def _stretches(history: Iterable[Report]) -> tuple[Stretch, ...]:
    """Reports with equal values in a row make one stretch."""
    stretches: list[Stretch] = []
    for report in history:
        if stretches and stretches[-1].params == report.params:
            stretches[-1] = stretches[-1]._replace(end=report.epoch)
        else:
            stretches.append(Stretch(stretches[-1].end if stretches else 0.0, report.epoch, report.params))
    return tuple(stretches)


def _best_study(rows: Iterable[StudyRow], mode: str) -> StudyRow | None:
    sign = 1 if mode == "max" else -1
    scored = [(sign * row.chosen.validation, row) for row in rows if row.chosen]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]


def _best(rows: Iterable[StrategyRow], mode: str) -> StrategyRow | None:
    sign = 1 if mode == "max" else -1
    scored = [(sign * row.best.chosen.validation, row) for row in rows if row.best and row.best.chosen]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return float(np.median(found)) if found else None
