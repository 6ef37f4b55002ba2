"""How many seeds a difference of the observed size would need: the power of the paired t-test.

An observed difference is itself uncertain, and so is this number: it says whether three more seeds are worth a try, not
more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

from tuning.comparison.scores import Spread

POWER = 0.8
MOST_SEEDS = 100
FEWEST = 3
WITHOUT_END = 10**6  # seeds: what they leave unknown, the rows do


class Needed(NamedTuple):
    """Seeds in all; None where they are more than MOST_SEEDS, or not known."""

    seeds: int | None
    beyond: bool  # more than MOST_SEEDS
    too_few_rows: bool  # and no number of seeds is enough on these test rows


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
        return power(difference, at, count, alpha) >= POWER

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

    if spread.units == 0 and 2.0 ** (1 - seeds) > alpha:
        return 0.0
    if spread.error == 0:
        return 1.0
    bound, shift = spread.reach(alpha) / spread.error, abs(difference) / spread.error
    normal = float(ndtr(shift - bound) + ndtr(-shift - bound))
    if spread.units == 0:
        return normal
    found = 1 - float(nctdtr(spread.freedom, shift, bound)) + float(nctdtr(spread.freedom, shift, -bound))
    return normal if math.isnan(found) else found  # far out, where both are as good as 1, nctdtr has no digits left
