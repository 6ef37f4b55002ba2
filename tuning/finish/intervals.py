"""How far a test score is from what other rows would have given: a bootstrap over rows, for any metric of any task."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.slot import Scores
from trainables.tasks import Task

RESAMPLES = 1000


class Interval(NamedTuple):
    """95 %."""

    low: float
    high: float


def interval_of(scores: Scores, task: Task, metric: str, outputs: int) -> Interval | None:
    """The percentile interval (Efron, 1979) of one model's score; None where it told no rows, or the task has no such
    metric of class numbers alone (`loss`).

    Args:
        outputs: classes, or 1 for a regression.
    """
    from scipy.stats import bootstrap

    if scores.labels is None or scores.predictions is None or metric not in task.metric_names:
        return None
    labels, said = np.asarray(scores.labels), np.asarray(scores.predictions)
    if task.kind == "classification":
        labels, said = labels.astype(int), said.astype(int)

    def score(rows: npt.NDArray[np.int64]) -> float:
        predictions = np.eye(outputs)[said[rows]] if task.kind == "classification" else said[rows]
        return task.metrics(predictions, labels[rows])[metric]

    found = bootstrap(
        (np.arange(len(labels)),), score, vectorized=False, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return Interval(float(found.low), float(found.high))
