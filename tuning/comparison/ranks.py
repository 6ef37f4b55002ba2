"""Mean ranks of the strategies over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from tuning.comparison.scores import StudyScores
from tuning.comparison.types import StrategyRanks, StrategyRow, StudyRow


def rank_strategies(
    rows: Sequence[StrategyRow], tests: Mapping[str, Sequence[StudyScores | None]], mode: str
) -> tuple[tuple[StrategyRanks, ...], Literal["test", "validation"]]:
    """Ranks the strategies on each seed that all have, and returns the ranks, best first, and their score.

    Ranks are by test score, including imputed ones, or by validation score if no seed has a test score of all
    strategies. () with one strategy, or without a common seed.

    Args:
        rows: the strategies.
        tests: by strategy, one test score per study.
        mode: of the objective.
    """
    scores = [{test.seed: test.score for test in tests[row.strategy] if test is not None} for row in rows]
    by_test = _ranks(scores, [row.strategy for row in rows], mode)
    if by_test:
        return by_test, "test"
    return _ranks([_validations(row) for row in rows], [row.strategy for row in rows], mode), "validation"


def _ranks(scores: Sequence[dict[int, float]], names: Sequence[str], mode: str) -> tuple[StrategyRanks, ...]:
    common = sorted(set.intersection(*(set(found) for found in scores)))
    if len(names) < 2 or not common:
        return ()
    from scipy.stats import rankdata

    table = np.array([[found[seed] for seed in common] for found in scores])  # strategies x seeds
    ranks = rankdata(-table if mode == "max" else table, axis=0)
    found = [
        StrategyRanks(name, tuple(row.tolist()), float(row.mean())) for name, row in zip(names, ranks, strict=True)
    ]
    return tuple(sorted(found, key=lambda rank: rank.mean))


def _validations(row: StrategyRow) -> dict[int, float]:
    return {study.seed: _validation(study) for study in row.studies if study.chosen is not None}


def _validation(study: StudyRow) -> float:
    assert study.chosen is not None
    return study.chosen.validation if study.confirmed is None else study.confirmed.mean
