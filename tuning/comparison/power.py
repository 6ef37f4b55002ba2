"""The power of the paired t-test after the correction for the number of pairs.

It gives the smallest difference that the seeds and rows can detect, and the seeds needed to detect a difference that
matters. Neither uses the observed difference, which is itself uncertain.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from tuning.comparison.multiple_comparisons import FIRST
from tuning.comparison.scores import Spread

POWER = 0.8
MAX_SEEDS = 100
FEWEST = 3
NODES = 200  # of a Gauss-Legendre rule: right to six digits
GUESSED_SPREAD = 0.01  # standard deviation over seeds that searches of a small experiment had
GUESSED_DIFFERING = 0.1  # share of test rows that two models of one experiment predict differently
ENDLESS_SEEDS = 10**6  # with so many seeds only the rows limit the power


class Needed(NamedTuple):
    """The total number of seeds that a test needs."""

    seeds: int | None  # None: more than MAX_SEEDS, or unknown
    beyond: bool  # True: more than MAX_SEEDS
    too_few_rows: bool  # True: no number of seeds is enough with these test rows


def detectable(spread: Spread, seeds: int, alpha: float) -> float | None:
    """Returns the smallest true difference that the test detects with 80 % power; None if it detects none.

    Args:
        spread: over `seeds` seeds, or of one seed's models (infinite degrees of freedom).
        seeds: their number.
        alpha: two-sided, after correction for the number of pairs.
    """
    from scipy.optimize import brentq

    high = spread.half_width(alpha)  # detected with 50 % power
    if spread.error == 0 or power(math.inf, spread, seeds, alpha) < POWER:
        return None
    while not _found(high, spread, seeds, alpha):
        high *= 2
    return float(brentq(lambda size: power(size, spread, seeds, alpha) - POWER, high / 2, high, rtol=1e-5))


def detectable_before(
    seeds: int,
    rows: int,
    strategies: int,
    *,
    spread: float = GUESSED_SPREAD,
    differing: float = GUESSED_DIFFERING,
    alpha: float = 0.05,
) -> float | None:
    """Predicts `detectable` for a pair with the baseline before a run; None with fewer than FEWEST seeds.

    Args:
        seeds: of each strategy.
        rows: of the test split.
        strategies: their number, including the baseline.
        spread: standard deviation over seeds of one strategy's score on infinitely many rows.
        differing: share of rows that one of two models gets right and the other wrong.
        alpha: familywise.
    """
    if seeds < FEWEST or strategies < 2:
        return None
    units = (2 * spread**2 + differing / rows) / seeds
    share = (FIRST if strategies > 2 else 1.0) / (strategies - 1)
    return detectable(Spread(units, seeds - 1, 0.0), seeds, alpha * share)


def _found(difference: float, spread: Spread, seeds: int, alpha: float) -> bool:
    return power(difference, spread, seeds, alpha) >= POWER


def seeds_needed(difference: float, spread: Spread, seeds: int, alpha: float) -> Needed:
    """Returns the number of seeds with which the test detects a true `difference` with 80 % power.

    Args:
        difference: of mean scores.
        spread: observed over `seeds` seeds. More seeds do not reduce the part of the test rows.
        seeds: their number.
        alpha: two-sided, after correction for the number of pairs.
    """
    if difference == 0:
        return Needed(None, beyond=True, too_few_rows=False)

    def enough(count: int) -> bool:
        at = Spread(spread.units * seeds / count, count - 1, spread.rows)
        return _found(difference, at, count, alpha)

    counts = range(FEWEST, MAX_SEEDS + 1)
    place = bisect_left(counts, True, key=enough)
    if place < len(counts):
        return Needed(counts[place], beyond=False, too_few_rows=False)
    return Needed(None, beyond=True, too_few_rows=not enough(ENDLESS_SEEDS))


def power(difference: float, spread: Spread, seeds: int, alpha: float) -> float:
    """Returns the power of the test over `seeds` seeds with that spread for a true `difference`.

    It is that of the noncentral t distribution, or of the sign-flip test if every seed shows the same difference. The
    noncentral t is integrated over the observed spread here, since scipy's `nctdtr` (1.17) returns NaN for some
    arguments in the middle of its range.
    """
    from scipy.special import ndtr

    if spread.units == 0 and spread.freedom < math.inf and 2.0 ** (1 - seeds) > alpha:
        return 0.0
    if spread.error == 0:
        return 1.0
    bound, shift = spread.half_width(alpha) / spread.error, abs(difference) / spread.error
    if spread.units == 0:
        return float(ndtr(shift - bound) + ndtr(-shift - bound))
    ratios, weights = _observed_ratios(spread.freedom)
    return float(weights @ (ndtr(shift - bound * ratios) + ndtr(-shift - bound * ratios)))


@functools.lru_cache(maxsize=256)
def _observed_ratios(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns ratios of the observed to the true standard deviation, and their probabilities."""
    from scipy.special import gammaincinv

    places, weights = np.polynomial.legendre.leggauss(NODES)
    return np.sqrt(2 * gammaincinv(freedom / 2, (places + 1) / 2) / freedom), weights / 2
