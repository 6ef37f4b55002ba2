"""Which strategy was worth its cost: outcomes in, rows, curves, pairs, a verdict and its caveats out. Pure, no I/O.

A seed of the search is the unit of every statement about a strategy: the whole search, repeated. Rows of the test split
and trainings of a confirmed configuration tell about one model or one configuration, never about a strategy.
"""

from __future__ import annotations

from tuning.comparison.compare import compare
from tuning.comparison.types import (
    AnytimeCurves,
    ChosenConfiguration,
    Comparison,
    ConfirmedConfiguration,
    Curve,
    Estimate,
    ExpectedBest,
    Interval,
    Pair,
    StrategyRanks,
    StrategyRow,
    StudyRow,
    TargetCost,
    TiedConfigurations,
)

__all__ = [
    "AnytimeCurves",
    "ChosenConfiguration",
    "Comparison",
    "ConfirmedConfiguration",
    "Curve",
    "Estimate",
    "ExpectedBest",
    "Interval",
    "Pair",
    "StrategyRanks",
    "StrategyRow",
    "StudyRow",
    "TargetCost",
    "TiedConfigurations",
    "compare",
]
