"""Numbers and names as text, in the same form in every table, sentence and figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tuning.comparison.types import Interval

DECIMALS = 3
MAX_DECIMALS = 12


def decimals_for(scores: Iterable[float | None]) -> int:
    """Returns how many decimals give the largest of `scores` three significant digits; never fewer than three."""
    largest = max((abs(score) for score in scores if score is not None and math.isfinite(score)), default=0.0)
    if largest == 0.0:
        return DECIMALS
    return min(MAX_DECIMALS, max(DECIMALS, DECIMALS - 1 - math.floor(math.log10(largest))))


def format_interval(interval: Interval, around: Iterable[float | None] = ()) -> str:
    """Formats an interval as '[0.871, 0.902]', with as many decimals as the scores that it is `around`."""
    digits = decimals_for(around)
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def join_names(names: Sequence[str]) -> str:
    """Joins names to a list in words: 'one, two and three'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
