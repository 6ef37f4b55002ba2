"""What seeds and rows can tell: the power of the paired t-test, after the correction for the number of pairs.

Neither number is of the observed difference, which is itself uncertain: the one is of a difference that matters, the
other the smallest that would be found.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

from tuning.comparison.multiple import FIRST
from tuning.comparison.scores import Spread

POWER = 0.8
MOST_SEEDS = 100
FEWEST = 3
HALVINGS = 40
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
    if spread.error == 0 or not _found(2.0**10 * spread.reach(alpha), spread, seeds, alpha):
        return None
    low, high = 0.0, 2.0**10 * spread.reach(alpha)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _found(middle, spread, seeds, alpha) else (middle, high)
    return high


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
    """
    from scipy.special import nctdtr, ndtr

    if spread.units == 0 and spread.freedom < math.inf and 2.0 ** (1 - seeds) > alpha:
        return 0.0
    if spread.error == 0:
        return 1.0
    bound, shift = spread.reach(alpha) / spread.error, abs(difference) / spread.error
    normal = float(ndtr(shift - bound) + ndtr(-shift - bound))
    if spread.units == 0:
        return normal
    found = 1 - float(nctdtr(spread.freedom, shift, bound)) + float(nctdtr(spread.freedom, shift, -bound))
    return normal if math.isnan(found) else found  # far out, where both are as good as 1, nctdtr has no digits left
