"""Searches without a test score, where another strategy has one with the same seed.

Leaving them out would compare the fragile strategy's lucky seeds with all of its rival's. Who searches and gets nothing
still has a model: the defaults', where a strategy of kind `defaults` has a score with that seed; else one that predicts
the most frequent class (of `mse`: the mean). Its score stands for the failed search. Where neither is known, or a model
was found and is not scored (yet), nothing is claimed of the pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tuning.comparison.resampling import METRICS
from tuning.comparison.scores import StudyScores, not_finite
from tuning.outcome import ScoredRows, StudyOutcome, StudyState

DEFAULTS = "defaults"  # the kind of strategy that trains what one has without a search
OF_CLASSES = frozenset({"accuracy", "f1", "macro_f1", "matthews_correlation"})

Tests = Mapping[str, Sequence[StudyScores | None]]


class ImputedScore(NamedTuple):
    """What counts as the test score of a failed search."""

    strategy: str  # whose search failed
    seed: int
    score: float
    by: str  # whose score it is, in words


class Imputation(NamedTuple):
    """Test scores with those that stand for failed searches."""

    tests: dict[str, list[StudyScores | None]]
    stand_ins: tuple[ImputedScore, ...]
    lost: dict[
        str, frozenset[int]
    ]  # by strategy: seeds that were searched and have no score, nor one that stands for it


def impute_failed(studies: Mapping[str, Sequence[StudyOutcome]], tests: Tests) -> Imputation:
    """`tests` with a score for each failed search with whose seed another strategy has one.

    Args:
        studies: by strategy.
        tests: one per study, in the same order.
    """
    scored_seeds = {test.seed for found in tests.values() for test in found if test is not None}
    defaults = _of_defaults(studies, tests)
    metric = next(iter(studies.values()))[0].metric
    constant = _constant(tests, metric)
    full: dict[str, list[StudyScores | None]] = {name: list(found) for name, found in tests.items()}
    stand_ins: list[ImputedScore] = []
    lost: dict[str, frozenset[int]] = {}
    for name, found in studies.items():
        unknown = set()
        for place, study in enumerate(found):
            if tests[name][place] is not None or study.seed not in scored_seeds:
                continue
            by = (defaults[study.seed], "that of the defaults") if study.seed in defaults else constant
            if not _failed(study) or by is None:
                unknown.add(study.seed)
                continue
            test = replace(by[0], seed=study.seed)
            full[name][place] = test
            stand_ins.append(ImputedScore(name, study.seed, test.score, by[1]))
        lost[name] = frozenset(unknown)
    return Imputation(full, tuple(stand_ins), lost)


def _failed(study: StudyOutcome) -> bool:
    """True if it has ended with no model, or with one whose score is no finite number."""
    return study.state is StudyState.FINISHED and (study.best() is None or not_finite(study))


def _of_defaults(studies: Mapping[str, Sequence[StudyOutcome]], tests: Tests) -> dict[int, StudyScores]:
    """The scores of the strategy of kind `defaults`, by seed; {} without it."""
    name = next((name for name, found in studies.items() if found[0].kind == DEFAULTS), None)
    return {} if name is None else {test.seed: test for test in tests[name] if test is not None}


def _constant(tests: Tests, metric: str) -> tuple[StudyScores, str] | None:
    """A model that says the same of each row; None: the test rows are not recorded, or not the same for all."""
    said = [rows for found in tests.values() for test in found if test is not None for rows in test.said]
    if not said or len({rows.labels for rows in said}) > 1 or metric not in OF_CLASSES | {"mse"}:
        return None
    labels = np.array(said[0].labels)
    values, counts = np.unique(labels, return_counts=True)
    value = float(labels.mean() if metric == "mse" else values[counts.argmax()])
    predictions = np.full((1, len(labels)), value)
    score = float(METRICS[metric](np.ones((1, len(labels))), labels, predictions)[0, 0])
    words = "that of the mean label" if metric == "mse" else "that of the most frequent class"
    rows = ScoredRows(said[0].labels, tuple(predictions[0].tolist()))
    return StudyScores(0, (score,), len(labels), (rows,)), words
