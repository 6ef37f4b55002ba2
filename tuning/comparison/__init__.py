"""Which strategy was worth its cost: outcomes in, rows, curves, pairs, a verdict and its caveats out. Pure, no I/O.

A seed of the search is the unit of every statement about a strategy: the whole search, repeated. Rows of the test split
and trainings of a confirmed configuration tell about one model or one configuration, never about a strategy.
"""

from __future__ import annotations

from tuning.comparison.compare import compare
from tuning.comparison.types import (
    Anytime,
    Chosen,
    Comparison,
    Confirmed,
    Curve,
    Estimate,
    Expected,
    Interval,
    Pair,
    Rank,
    Reach,
    StrategyRow,
    StudyRow,
    Ties,
)

__all__ = [
    "Anytime",
    "Chosen",
    "Comparison",
    "Confirmed",
    "Curve",
    "Estimate",
    "Expected",
    "Interval",
    "Pair",
    "Rank",
    "Reach",
    "StrategyRow",
    "StudyRow",
    "Ties",
    "compare",
]
