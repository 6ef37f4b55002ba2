"""Compares every two strategies over tasks, those with the baseline first.

The units are tasks: a difference is that of two means on one task. Wilcoxon's signed-rank test gives p, and the
interval of the difference by inversion. p is corrected for all pairs as within an experiment: while both kinds are open
the pairs with the baseline have four fifths of the error rate (see `multiple_comparisons`). Intervals are simultaneous
at the same shares; if a later step shows a difference, its interval ends at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from tuning.across.aggregates import bootstrap_seeds, percentile_interval, probability_of_improvement
from tuning.across.significance import signed_ranks, typical_difference, wilcoxon_p
from tuning.across.tasks import TaskSet
from tuning.across.types import AcrossPair, TaskRow
from tuning.comparison import Interval
from tuning.comparison.multiple_comparisons import error_shares, holm
from tuning.comparison.verdict_levels import ALPHA

NORMALISED = "normalised scores"


def tested_score(tasks: Sequence[TaskRow]) -> str:
    """Returns the score whose differences are tested: the metric if all tasks have the same, else NORMALISED."""
    metrics = {(task.metric, task.mode) for task in tasks}
    return tasks[0].metric if len(metrics) == 1 else NORMALISED


def across_pairs(found: TaskSet, tasks: Sequence[TaskRow], *, claimable: bool) -> tuple[AcrossPair, ...]:
    """Returns all pairs of strategies: those with the baseline first, then by p.

    Args:
        found: the tasks with their scores.
        tasks: the same, as rows of the comparison.
        claimable: False: no difference is claimed, whatever p is.
    """
    levels = np.array([_levels(task, tested_score(tasks)) for task in tasks])  # (tasks, strategies), more is better
    ahead = [task.ahead for task in found.tasks]
    drawn, seeds = bootstrap_seeds(ahead), sum(len(task.seeds) for task in tasks)
    ordered = [
        pair if signed_ranks(_differences(levels, *pair)) >= 0 else pair[::-1]
        for pair in combinations(range(len(found.strategies)), 2)
    ]
    names = [(found.strategies[one], found.strategies[other]) for one, other in ordered]
    p_values = [wilcoxon_p(_differences(levels, *pair)) for pair in ordered]
    judged = zip(error_shares(names, found.baseline), p_values, holm(names, p_values, found.baseline), strict=True)
    pairs = []
    for (one, other), (share, p, corrected) in zip(ordered, judged, strict=True):
        differences = _differences(levels, one, other)
        difference, ends = typical_difference(differences, ALPHA * share)
        chances = None if drawn is None else probability_of_improvement(drawn, one, other)
        pair = AcrossPair(
            first=found.strategies[one],
            second=found.strategies[other],
            wins=int((differences > 0).sum()),
            losses=int((differences < 0).sum()),
            better=float(probability_of_improvement(ahead, one, other)),
            interval=None if chances is None else percentile_interval(chances, seeds),
            difference=difference,
            difference_interval=None if ends is None else _interval(*ends, seeds, differs=corrected <= ALPHA),
            p=p,
            corrected=corrected,
            shown=claimable and corrected <= ALPHA,
        )
        pairs.append(pair)
    return tuple(
        sorted(pairs, key=lambda pair: (found.baseline not in (pair.first, pair.second), pair.p, -pair.better))
    )


def _interval(low: float, high: float, seeds: int, *, differs: bool) -> Interval:
    """Returns the interval of a difference, with an end at 0 if the ends would not agree with the test.

    That is so if a later step of the correction shows it, and may be so if differences are equal.
    """
    return Interval(low if differs is (low > 0) else 0.0, high, 0, seeds, ("tasks",))


def _differences(levels: np.ndarray, one: int, other: int) -> np.ndarray:
    """Returns differences per task, rounded to 9 digits so that equal ones are ties."""
    return np.array([float(f"{difference:.9g}") for difference in levels[:, one] - levels[:, other]])


def _levels(task: TaskRow, of: str) -> list[float]:
    """Returns the means that the signed-rank tests use; more is better."""
    if of == NORMALISED:
        return list(task.normalised or [0.0] * len(task.means))
    return [mean if task.mode == "max" else -mean for mean in task.means]
