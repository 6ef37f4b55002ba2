"""Anytime curves: the best validation score so far over the cost of the study so far.

The cost is that of the whole study, not the sum of its reports: all devices of all slots since the study began,
including starts, checkpoints and idle slots, over all its runs. It is recorded with each report. Epochs that are
recomputed after an interruption cost, too, and move later reports to the right.

Older versions recorded only the time of each report and the total time of the study. There the cost of a report is
counted back from the study's end, at the average cost per second. Time in which the study did not run is no cost; it is
removed from the longest gaps between reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trainables.reporting import Report
from tuning.comparison.bands import rising_band
from tuning.comparison.scores import study_scores
from tuning.comparison.types import AnytimeCurves, Curve, CurvePoint, TargetCost
from tuning.outcome import StudyOutcome

GRID = 201  # number of costs at which the mean and band are computed


def best_so_far_curve(study: StudyOutcome) -> Curve:
    """Returns the best-so-far curve of one study: its first report and each improvement."""
    reports = [one for trial in study.trials for one in zip(trial.costs_of_reports, trial.reports, strict=True)]
    known = sorted(((c, r) for c, r in reports if c is not None), key=lambda one: (one[0], one[1].time))
    unknown = sorted((report for cost, report in reports if cost is None), key=lambda report: report.time)
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
    """Estimates the study's device-seconds at each report whose cost is not recorded.

    Args:
        study: of the reports.
        reports: in order of time.
        end: the cost of the study at the last of them.
    """
    rate = study.device_seconds / study.wall_seconds if study.wall_seconds else 0.0
    if not reports or not rate:
        return [0.0] * len(reports)
    times = np.array([report.time for report in reports])
    gaps = np.diff(times)
    first = reports[0].device_seconds / (study.devices_per_trial or 1.0)  # seconds that the first report took
    excess = times[-1] - times[0] - max(0.0, end / rate - first)
    while excess > 0 and gaps.any():  # the study was interrupted
        longest = int(gaps.argmax())
        taken = min(excess, gaps[longest])
        gaps[longest] -= taken
        excess -= taken
    before_end = np.append(np.cumsum(gaps[::-1])[::-1], 0.0)
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
    """Returns the mean over `curves` at costs from 0 to `end`, with its simultaneous band and regret.

    Args:
        strategy: its name.
        curves: one per seed.
        mode: of the objective.
        end: the largest cost, in device-seconds.
        within: the range of possible scores.
        best: the best known score, from which regret is measured; None: no regret.
    """
    cost = np.linspace(0.0, end, GRID)
    sign = 1 if mode == "max" else -1
    scores = np.stack([_at(curve, cost, sign) for curve in curves])  # seeds x costs, larger is better
    known = np.isfinite(scores).all(axis=0)  # the mean needs a score of every seed
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
        mean=_scores_or_none(mean, sign),
        low=_scores_or_none(low, sign),
        high=_scores_or_none(high, sign),
        regret=_scores_or_none(regret, 1),
    )


def best_score(curves: Iterable[Curve], mode: str) -> float | None:
    """Returns the best score of all `curves`; None without a score."""
    found = (curve.steps[-1].score for curve in curves if curve.steps)
    return (max if mode == "max" else min)(found, default=None)


def target_cost(curves: Sequence[Curve], mode: str, target: float) -> TargetCost:
    """Returns the cost of each study to reach the score `target`, and the median."""
    sign = 1 if mode == "max" else -1
    costs = tuple(
        next((step.cost for step in curve.steps if sign * step.score >= sign * target), None) for curve in curves
    )
    censored = np.array([np.inf if cost is None else cost for cost in costs])
    median = float(np.quantile(censored, 0.5, method="higher"))  # the larger of two in the middle
    spent = [curve.end for curve, cost in zip(curves, costs, strict=True) if cost is None]
    reached = len(curves) - len(spent)
    if np.isinf(median):
        return TargetCost(costs, reached, None, float(np.median(spent)))
    return TargetCost(costs, reached, median, None)


def _at(curve: Curve, cost: np.ndarray, sign: int) -> np.ndarray:
    """Returns the curve's score at each cost, times `sign`; minus infinity before the first."""
    scores = np.array([-np.inf, *(sign * step.score for step in curve.steps)])
    return scores[np.searchsorted([step.cost for step in curve.steps], cost, side="right")]


def _scores_or_none(scores: np.ndarray, sign: int) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(score) else sign * score for score in scores.tolist())
