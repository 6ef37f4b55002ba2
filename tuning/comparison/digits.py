"""Scores as texts: three decimals, and more where the scores themselves are small."""

from __future__ import annotations

import math
from collections.abc import Iterable

DECIMALS = 3
MOST = 12


def decimals_for(scores: Iterable[float | None]) -> int:
    """Decimals that give the largest of `scores` three significant digits, and never fewer than three decimals."""
    largest = max((abs(score) for score in scores if score is not None and math.isfinite(score)), default=0.0)
    if largest == 0.0:
        return DECIMALS
    return min(MOST, max(DECIMALS, DECIMALS - 1 - math.floor(math.log10(largest))))
