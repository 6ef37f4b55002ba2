"""Test scores of searches, as the comparison takes them, from numbers or from what a model predicts."""

from __future__ import annotations

import numpy as np

from tuning.comparison.scores import StudyScores
from tuning.outcome import ScoredRows


def over_seeds(*scores: float, rows: int = 0) -> list[StudyScores | None]:
    """Returns the scores of one search per seed, of the seeds 0, 1, ..."""
    return [StudyScores(seed, (score,), rows) for seed, score in enumerate(scores)]


def model(labels: np.ndarray, right: np.ndarray, seed: int = 0) -> StudyScores:
    """Returns scores of a model that predicts the label where `right` is true, else the other class."""
    predicted = np.where(right, labels, 1 - labels)
    return StudyScores(seed, (float(right.mean()),), len(labels), (ScoredRows(tuple(labels), tuple(predicted)),))
