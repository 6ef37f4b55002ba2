"""Imputes the test scores of failed searches, if another strategy has a score with the same seed.

Leaving failed searches out would favour a fragile strategy, of which only the lucky seeds would count. After a failed
search the user still has a model: that of the defaults, if a strategy of kind `defaults` has a score with that seed,
else one that predicts the most frequent class (for `mse`, the mean). Its score is used for the failed search. If
neither is known, or a model was found and has no score yet, no difference of the pair is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tuning.comparison.resampling import METRICS
from tuning.comparison.scores import StudyScores, not_finite
from tuning.outcome import ScoredRows, StudyOutcome, StudyState

DEFAULTS = "defaults"  # the kind of strategy that trains with defaults, without a search
OF_CLASSES = frozenset({"accuracy", "f1", "macro_f1", "matthews_correlation"})

Tests = Mapping[str, Sequence[StudyScores | None]]


class ImputedScore(NamedTuple):
    """A score that is used as the test score of a failed search."""

    strategy: str  # the strategy whose search failed
    seed: int
    score: float
    by: str  # where the score comes from, in words


class Imputation(NamedTuple):
    """Test scores, including imputed ones."""

    tests: dict[str, list[StudyScores | None]]
    imputed: tuple[ImputedScore, ...]
    lost: dict[str, frozenset[int]]  # by strategy: seeds without a score, not even an imputed one


def impute_failed(studies: Mapping[str, Sequence[StudyOutcome]], tests: Tests) -> Imputation:
    """Imputes a score for each failed search if another strategy has a score with its seed.

    Args:
        studies: by strategy.
        tests: by strategy, one score per study in the same order.
    """
    scored_seeds = {test.seed for found in tests.values() for test in found if test is not None}
    defaults = _of_defaults(studies, tests)
    metric = next(iter(studies.values()))[0].metric
    constant = _constant(tests, metric)
    full: dict[str, list[StudyScores | None]] = {name: list(found) for name, found in tests.items()}
    imputed: list[ImputedScore] = []
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
            imputed.append(ImputedScore(name, study.seed, test.score, by[1]))
        lost[name] = frozenset(unknown)
    return Imputation(full, tuple(imputed), lost)


def _failed(study: StudyOutcome) -> bool:
    """Returns True if a study ended without a model, or with one whose score is not finite."""
    return study.state is StudyState.FINISHED and (study.best() is None or not_finite(study))


def _of_defaults(studies: Mapping[str, Sequence[StudyOutcome]], tests: Tests) -> dict[int, StudyScores]:
    """Returns the scores of the strategy of kind `defaults` by seed; {} without it."""
    name = next((name for name, found in studies.items() if found[0].kind == DEFAULTS), None)
    return {} if name is None else {test.seed: test for test in tests[name] if test is not None}


def _constant(tests: Tests, metric: str) -> tuple[StudyScores, str] | None:
    """Returns the score of a constant prediction; None if the test rows are not recorded or differ."""
    recorded = [rows for found in tests.values() for test in found if test is not None for rows in test.scored_rows]
    if not recorded or len({rows.labels for rows in recorded}) > 1 or metric not in OF_CLASSES | {"mse"}:
        return None
    labels = np.array(recorded[0].labels)
    values, counts = np.unique(labels, return_counts=True)
    value = float(labels.mean() if metric == "mse" else values[counts.argmax()])
    predictions = np.full((1, len(labels)), value)
    score = float(METRICS[metric](np.ones((1, len(labels))), labels, predictions)[0, 0])
    words = "that of the mean label" if metric == "mse" else "that of the most frequent class"
    rows = ScoredRows(recorded[0].labels, tuple(predictions[0].tolist()))
    return StudyScores(0, (score,), len(labels), (rows,)), words
