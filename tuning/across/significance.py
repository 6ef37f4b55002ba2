"""Significance tests over tasks: Friedman's test of all strategies and Wilcoxon's signed-rank test of each pair.

Source: J. Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), 1-30. Tasks are few,
so p comes from permutations: the approximations by chi squared and normal distributions need many tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuning.across.types import Friedman
from tuning.comparison.verdict_levels import ALPHA

DRAWN = 9_999  # number of permutations; if there are no more than this, all are used


def rank_means(means: Sequence[float], mode: str) -> tuple[float, ...]:
    """Ranks the strategies of a task by their means: 1 is the best, ties share their mean rank."""
    from scipy.stats import rankdata

    return tuple(rankdata(np.array(means) * (-1 if mode == "max" else 1)).tolist())


def friedman(ranks: np.ndarray) -> Friedman:
    """Runs Friedman's test by permutation.

    Args:
        ranks: (tasks, strategies), of at least three strategies.
    """
    from scipy.stats import friedmanchisquare, permutation_test

    if np.ptp(ranks, axis=1).max() == 0:  # all equal in each task
        return Friedman(0.0, 1.0, exact=True)

    def spread(*samples: np.ndarray, axis: int) -> np.ndarray:
        """Increases with chi squared, whose other terms are equal for all permutations."""
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
    """Returns the signed-rank sum: the ranks of absolute differences, with the signs of the differences."""
    from scipy.stats import rankdata

    return float((np.sign(differences) * rankdata(np.abs(differences))).sum())


def wilcoxon_p(differences: np.ndarray) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test. Ranks of zeros are split evenly, as in Demsar.

    It is exact up to 13 tasks, and up to 50 without ties.
    """
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    return min(1.0, float(wilcoxon(differences, zero_method="zsplit").pvalue))


def smallest_p(tasks: int) -> float:
    """Returns the smallest possible p of a pair: that of one strategy being ahead in each of `tasks`."""
    return float(min(1.0, 2.0 ** (1 - tasks)))


def tasks_needed(share: float) -> int:
    """Returns the fewest tasks with which a pair that has `share` of the error rate can differ significantly."""
    tasks = 1
    while smallest_p(tasks) / share > ALPHA:
        tasks += 1
    return tasks


def typical_difference(differences: np.ndarray, level: float) -> tuple[float, tuple[float, float] | None]:
    """Returns the Hodges-Lehmann estimate of the differences, and its interval from the signed-rank test.

    The estimate is the median of the means of any two differences, also of one with itself. The interval has the shifts
    that the test does not reject (J. L. Hodges and E. L. Lehmann, Annals of Mathematical Statistics 34, 1963, 598-611).

    Args:
        differences: one per task.
        level: the error rate of the interval.

    Returns:
        The estimate and the ends. None instead of these: there are too few tasks for that level, or all differences are
        equal, which does not mean that there is no error.
    """
    means = np.sort(((differences[:, None] + differences) / 2)[np.triu_indices(len(differences))])
    beyond = int((np.cumsum(_rank_sum_chances(len(differences))) <= level / 2).sum())
    middle = float(np.median(means))
    if not beyond or means[beyond - 1] == means[-beyond]:
        return middle, None
    return middle, (float(means[beyond - 1]), float(means[-beyond]))


def _rank_sum_chances(tasks: int) -> np.ndarray:
    """Returns the probabilities of all sums of positive ranks, 0 to the largest, if both signs are equally likely."""
    chances = np.array([1.0])
    for rank in range(1, tasks + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return chances
