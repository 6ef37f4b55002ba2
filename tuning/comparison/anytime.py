"""Anytime curves: the best validation score so far against what the study had cost by then.

The cost of a moment is the whole study's, not the sum of its reports: all devices of all slots since the study began,
starts, checkpoints and idle slots included, in the runs before an interruption too. It is recorded with each report.
Older versions recorded only when each report came and how long the study held its slots in all: there a report's place
is counted back from the study's end, and every second costs the study's average. Time in which such a study did not run
is no cost: it is taken out of the longest silences between reports. What an interruption made a study compute again is
cost, which moves all that comes after it to the right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trainables.reporting import Report
from tuning.comparison.bands import rising_band
from tuning.comparison.scores import study_scores
from tuning.comparison.types import AnytimeCurves, Curve, CurvePoint, TargetCost
from tuning.outcome import StudyOutcome

GRID = 201  # costs that a band is given at


def best_so_far_curve(study: StudyOutcome) -> Curve:
    """The curve of one study: its first report, and each report that was better than all before."""
    told = [one for trial in study.trials for one in zip(trial.costs_of_reports, trial.reports, strict=True)]
    known = sorted(((c, r) for c, r in told if c is not None), key=lambda one: (one[0], one[1].time))
    unknown = sorted((report for cost, report in told if cost is None), key=lambda report: report.time)
    end = known[0][0] - known[0][1].device_seconds if known else study.device_seconds
    sign = 1 if study.mode == "max" else -1
    steps: list[CurvePoint] = []
    for cost, report in (*zip(_estimated(study, unknown, end), unknown, strict=True), *known):
        score = report.metrics[study.metric]
        if not steps or sign * score > sign * steps[-1].score:
            steps.append(CurvePoint(cost, score))
    again = [one.validation[study.metric] for one in study.confirmed() if one.validation]
    test = study_scores(study)
    return Curve(
        study.seed,
        tuple(steps),
        study.device_seconds,
        confirming=sum(one.device_seconds for one in study.confirmations),
        confirmed=float(np.mean(again)) if again else None,
        test=None if test is None else test.score,
    )


def _estimated(study: StudyOutcome, reports: Sequence[Report], end: float) -> list[float]:
    """Device-seconds of the study at each of `reports`, which are in order of time, where nothing is recorded of them.

    Args:
        end: what it had cost when the last of them had come.
    """
    rate = study.device_seconds / study.wall_seconds if study.wall_seconds else 0.0
    if not reports or not rate:
        return [0.0] * len(reports)
    times = np.array([report.time for report in reports])
    silences = np.diff(times)
    first = reports[0].device_seconds / (study.devices_per_trial or 1.0)  # seconds: it did not come at once
    excess = times[-1] - times[0] - max(0.0, end / rate - first)
    while excess > 0 and silences.any():  # it was interrupted
        longest = int(silences.argmax())
        taken = min(excess, silences[longest])
        silences[longest] -= taken
        excess -= taken
    before_end = np.append(np.cumsum(silences[::-1])[::-1], 0.0)
    return np.clip(end - before_end * rate, 0.0, max(0.0, end)).tolist()  # type: ignore[no-any-return]


def anytime_curves(
    strategy: str,
    curves: Sequence[Curve],
    mode: str,
    end: float,
    *,
    within: tuple[float, float] = (-np.inf, np.inf),
    best: float | None = None,
) -> AnytimeCurves:
    """The mean over `curves` at costs from 0 to `end`, with its simultaneous band.

    Args:
        within: the scores that there can be.
        best: the best score known; regret is told against it.
    """
    cost = np.linspace(0.0, end, GRID)
    sign = 1 if mode == "max" else -1
    scores = np.stack([_at(curve, cost, sign) for curve in curves])  # seeds x costs, larger is better
    known = np.isfinite(scores).all(axis=0)  # beside a score that is not there yet, a mean would be nothing at all
    mean = np.where(known, np.where(np.isfinite(scores), scores, 0.0).mean(axis=0), np.nan)
    low, high = np.full(GRID, np.nan), np.full(GRID, np.nan)
    if known.any() and (found := rising_band(scores[:, known])) is not None:
        least, most = sorted(sign * bound for bound in within)
        low[known], high[known] = (np.clip(ends, least, most) for ends in found)
    regret = np.full(GRID, np.nan) if best is None else np.maximum(0.0, sign * best - mean)
    return AnytimeCurves(
        strategy=strategy,
        curves=tuple(curves),
        cost=tuple(cost.tolist()),
        mean=_told(mean, sign),
        low=_told(low, sign),
        high=_told(high, sign),
        regret=_told(regret, 1),
    )


def best_score(curves: Iterable[Curve], mode: str) -> float | None:
    """The best score of all `curves`; None before the first."""
    found = (curve.steps[-1].score for curve in curves if curve.steps)
    return (max if mode == "max" else min)(found, default=None)


def target_cost(curves: Sequence[Curve], mode: str, target: float) -> TargetCost:
    """What it cost each study to be as good as `target`."""
    sign = 1 if mode == "max" else -1
    costs = tuple(
        next((step.cost for step in curve.steps if sign * step.score >= sign * target), None) for curve in curves
    )
    censored = np.array([np.inf if cost is None else cost for cost in costs])
    median = float(np.quantile(censored, 0.5, method="higher"))  # of two in the middle the dearer
    spent = [curve.end for curve, cost in zip(curves, costs, strict=True) if cost is None]
    reached = len(curves) - len(spent)
    if np.isinf(median):
        return TargetCost(costs, reached, None, float(np.median(spent)))
    return TargetCost(costs, reached, median, None)


def _at(curve: Curve, cost: np.ndarray, sign: int) -> np.ndarray:
    """The curve's score at each cost, times `sign`; minus infinity before its first."""
    scores = np.array([-np.inf, *(sign * step.score for step in curve.steps)])
    return scores[np.searchsorted([step.cost for step in curve.steps], cost, side="right")]


def _told(scores: np.ndarray, sign: int) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(score) else sign * score for score in scores.tolist())
