"""What seeds and rows can tell: the power of the paired t-test, after the correction for the number of pairs.

Neither number is of the observed difference, which is itself uncertain: the one is of a difference that matters, the
other the smallest that would be found.
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
MOST_SEEDS = 100
FEWEST = 3
NODES = 200  # of a Gauss-Legendre rule: right to six digits
GUESSED_SPREAD = 0.01  # what searches of a small experiment were seen to vary by
GUESSED_DIFFERING = 0.1  # of test rows, between two models of one experiment
WITHOUT_END = 10**6  # seeds: what they leave unknown, the rows do


class Needed(NamedTuple):
    """Seeds in all; None where they are more than MOST_SEEDS, or not known."""

    seeds: int | None
    beyond: bool  # more than MOST_SEEDS
    too_few_rows: bool  # and no number of seeds is enough on these test rows


def detectable(spread: Spread, seeds: int, alpha: float) -> float | None:
    """The smallest true difference that the test finds in 80 of 100 experiments; None: none, however large.

    Args:
        spread: of one seed's models (infinite freedom), or over `seeds` seeds.
        alpha: two-sided, after correction for the number of pairs.
    """
    from scipy.optimize import brentq

    high = spread.reach(alpha)  # which half of the experiments find
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
    """What `detectable` will come to against the baseline, before anything is run; None: fewer than FEWEST seeds.

    Args:
        rows: of the test split.
        strategies: the baseline among them.
        spread: standard deviation over seeds of one strategy's score on endless rows.
        differing: the share of rows that one of two models gets right and the other one wrong.
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
    """Seeds in all at which the test would find a true `difference` in 80 of 100 experiments.

    Args:
        spread: what was observed over `seeds` seeds. The part of the test rows stays, however many seeds there are.
        alpha: two-sided, after correction for the number of pairs.
    """
    if difference == 0:
        return Needed(None, beyond=True, too_few_rows=False)

    def enough(count: int) -> bool:
        at = Spread(spread.units * seeds / count, count - 1, spread.rows)
        return _found(difference, at, count, alpha)

    counts = range(FEWEST, MOST_SEEDS + 1)
    place = bisect_left(counts, True, key=enough)
    if place < len(counts):
        return Needed(counts[place], beyond=False, too_few_rows=False)
    return Needed(None, beyond=True, too_few_rows=not enough(WITHOUT_END))


def power(difference: float, spread: Spread, seeds: int, alpha: float) -> float:
    """The chance that the test over `seeds` seeds with that spread finds a true `difference`: by the noncentral t; by
    the sign-flip test where every seed shows the same difference.

    The noncentral t is the mean over what the seeds' spread may be seen as: scipy's `nctdtr` (1.17) is no number at
    some places in the middle of its range.
    """
    from scipy.special import ndtr

    if spread.units == 0 and spread.freedom < math.inf and 2.0 ** (1 - seeds) > alpha:
        return 0.0
    if spread.error == 0:
        return 1.0
    bound, shift = spread.reach(alpha) / spread.error, abs(difference) / spread.error
    if spread.units == 0:
        return float(ndtr(shift - bound) + ndtr(-shift - bound))
    seen, weights = _seen_spreads(spread.freedom)
    return float(weights @ (ndtr(shift - bound * seen) + ndtr(-shift - bound * seen)))


@functools.lru_cache(maxsize=256)
def _seen_spreads(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of a standard deviation as it is seen to the true one, and their probabilities."""
    from scipy.special import gammaincinv

    places, weights = np.polynomial.legendre.leggauss(NODES)
    return np.sqrt(2 * gammaincinv(freedom / 2, (places + 1) / 2) / freedom), weights / 2
