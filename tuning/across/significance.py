"""Tests over tasks: Friedman's of all strategies, Wilcoxon's signed-rank test of each two, corrected by Holm.

J. Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), 1-30. Tasks are few, so p is
that of the permutations themselves: the approximations by chi squared and by the normal distribution are for many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuning.across.types import Friedman
from tuning.comparison.verdict_levels import ALPHA

DRAWN = 9_999  # permutations up to which all are gone through; of more, so many are drawn


def rank_means(means: Sequence[float], mode: str) -> tuple[float, ...]:
    """1 is the best; ties share their mean."""
    from scipy.stats import rankdata

    return tuple(rankdata(np.array(means) * (-1 if mode == "max" else 1)).tolist())


def friedman(ranks: np.ndarray) -> Friedman:
    """Of (tasks, strategies) ranks, three strategies at least: whether each order of them is as likely as any other."""
    from scipy.stats import friedmanchisquare, permutation_test

    if np.ptp(ranks, axis=1).max() == 0:  # all alike in each task
        return Friedman(0.0, 1.0, exact=True)

    def spread(*samples: np.ndarray, axis: int) -> np.ndarray:
        """Grows with chi squared, whose other terms are the same for all permutations."""
        return np.asarray(sum(sample.sum(axis=axis) ** 2 for sample in samples))

    tasks, strategies = ranks.shape
    found = permutation_test(
        tuple(ranks.T),
        spread,
        permutation_type="samples",
        vectorized=True,
        n_resamples=DRAWN,
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    exact = math.factorial(strategies) ** tasks <= DRAWN
    return Friedman(float(friedmanchisquare(*ranks.T).statistic), float(found.pvalue), exact)


def signed_ranks(differences: np.ndarray) -> float:
    """The sum of the ranks of the sizes of `differences`, each with the sign of its own."""
    from scipy.stats import rankdata

    return float((np.sign(differences) * rankdata(np.abs(differences))).sum())


def wilcoxon_p(differences: np.ndarray) -> float:
    """The two-sided p of Wilcoxon's signed-rank test; ranks of zeros are split evenly, as Demsar does. Exact up to 13
    tasks, and up to 50 without ties."""
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    return min(1.0, float(wilcoxon(differences, zero_method="zsplit").pvalue))


def smallest_p(tasks: int) -> float:
    """The p of two strategies of which one is ahead in each of `tasks`: no test over tasks can have a smaller one."""
    return float(min(1.0, 2.0 ** (1 - tasks)))


def tasks_needed(pairs: int) -> int:
    """The fewest tasks with which one of `pairs` can be shown to differ."""
    tasks = 1
    while pairs * smallest_p(tasks) > ALPHA:
        tasks += 1
    return tasks
