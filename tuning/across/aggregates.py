"""Aggregates scores over tasks and seeds, with intervals by a bootstrap that is stratified by task.

The aggregates are interquartile means, performance profiles and the probability of improvement (R. Agarwal and others,
Deep reinforcement learning at the edge of the statistical precipice, NeurIPS 2021, arXiv:2108.13264). All strategies
share a draw of seeds, since searches with one seed share first points and splits. Of n seeds, n - 1 are drawn;
otherwise the variance would be too small by (n - 1) / n (J. N. K. Rao and C. F. J. Wu, JASA 83, 1988, 231-241). The
intervals then cover the true probability in 88 % of 250 simulated experiments with three tasks of three seeds, and in
94 to 96 % with more of either; with n seeds drawn it is 84 %, and 87 to 93 %. Tasks are not resampled: the intervals
are for other seeds on these tasks, not for other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuning.comparison import Interval

DRAWS = 2_000
LOWEST, HIGHEST = -1.0, 2.0  # range of a profile's thresholds

Scores = Sequence[np.ndarray]  # per task (strategies, ..., seeds)


def normalise(scores: np.ndarray, means: Sequence[float], mode: str) -> np.ndarray | None:
    """Scales scores so that the worst of `means` becomes 0 and the best 1; None if all means are equal."""
    low, high = (min(means), max(means)) if mode == "max" else (max(means), min(means))
    return None if low == high else np.asarray((scores - low) / (high - low))


def bootstrap_seeds(scores: Scores) -> list[np.ndarray] | None:
    """Draws seeds with replacement: (strategies, DRAWS, seeds - 1) per task; None if a task has one seed only."""
    if not scores or min(task.shape[-1] for task in scores) < 2:
        return None
    rng = np.random.default_rng(0)
    return [task[:, rng.integers(task.shape[1], size=(DRAWS, task.shape[1] - 1))] for task in scores]


def interquartile_means(scores: Scores) -> np.ndarray:
    """Returns the interquartile mean over all scores of each strategy: (strategies, ...)."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1))


def probability_of_improvement(scores: Scores, first: int, second: int) -> np.ndarray:
    """Returns the probability that a score of `first` beats one of `second` on the same task, as the mean over tasks.

    The seeds of the two scores may differ. A tie counts half.
    """
    return np.asarray(np.mean([_chance(task[first], task[second]) for task in scores], axis=0))


def profile_thresholds(scores: Scores) -> np.ndarray:
    """Returns thresholds in steps of 0.01 over the range of scores, at least 0 to 1 and at most LOWEST to HIGHEST."""
    low, high = min(task.min() for task in scores), max(task.max() for task in scores)
    ends = math.floor(max(LOWEST, min(0.0, low)) * 100), math.ceil(min(HIGHEST, max(1.0, high)) * 100)
    return np.arange(ends[0], ends[1] + 1) / 100


def performance_profile(scores: Scores, strategy: int, thresholds: np.ndarray) -> np.ndarray:
    """Returns the share of scores above each threshold, as the mean over tasks: (..., thresholds)."""
    shares = [(task[strategy][..., None] > thresholds).mean(axis=-2) for task in scores]
    return np.asarray(np.mean(shares, axis=0))


def percentile_bounds(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the 95 % percentile interval over the first axis."""
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return low, high


def percentile_interval(drawn: np.ndarray, seeds: int) -> Interval | None:
    """Returns the 95 % percentile interval; None if all draws are equal, which does not mean that there is no error."""
    low, high = (float(end) for end in percentile_bounds(drawn))
    return None if low == high else Interval(low, high, 0, seeds, ("seeds",))


def _chance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = a[..., :, None] - b[..., None, :]
    return np.asarray((pairs > 0).mean(axis=(-2, -1)) + (pairs == 0).mean(axis=(-2, -1)) / 2)
