"""Compares the strategies of one experiment: scores, costs, curves, pairwise tests, a verdict and caveats. No I/O.

Input is an `ExperimentOutcome`, output a `Comparison`. The unit of every statement about a strategy is a seed of its
search, that is, the whole search repeated. Test rows vary the score of one model, and trainings of a confirmed
configuration vary the score of one configuration; neither says anything about a strategy.
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
