"""Computes the scores of models on resampled test rows: the paired bootstrap over rows.

All models of an experiment predicted the same rows, so a draw of rows is shared by all of them: a row that is hard for
one model is hard for others too, and the difference of two scores varies less than either. Source: Efron and
Tibshirani, An Introduction to the Bootstrap, 1993. The random seed is fixed, so equal outcomes give equal comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

DRAWS = 1000  # gives standard errors within 2 %
CELLS = 1 << 21  # draws x rows that are in memory at a time

Array = npt.NDArray[np.float64]
# (weights (draws, rows): how often each row is drawn; labels (rows,); predictions (models, rows)) -> (draws, models)
Metric = Callable[[Array, Array, Array], Array]


def bootstrap_scores(
    metric: str, labels: Array, predictions: Array, recorded: Array | None = None
) -> tuple[Array, Array] | None:
    """Returns the scores of each model on all rows, and on each draw of rows.

    Args:
        metric: its name.
        labels: (rows,), class numbers or values.
        predictions: (models, rows), the same.
        recorded: (models,), recorded scores, by which the variant of `f1` is recognised.

    Returns:
        Shapes (models,) and (DRAWS, models); None if `metric` is none of `METRICS`.
    """
    if metric not in METRICS:
        return None
    score, rows = METRICS[metric], len(labels)
    own = score(np.ones((1, rows)), labels, predictions)[0]
    if recorded is not None:
        for other in OTHERS.get(metric, ()):
            theirs = other(np.ones((1, rows)), labels, predictions)[0]
            if np.isclose(theirs, recorded).sum() > np.isclose(own, recorded).sum():
                score, own = other, theirs
    return own, np.concatenate([score(weights, labels, predictions) for weights in row_weights(rows)])


def row_weights(rows: int) -> Iterator[Array]:
    """Yields how often each row is drawn, in blocks of shape (draws, rows); DRAWS draws in all."""
    rng = np.random.default_rng(0)
    step = max(1, CELLS // rows)
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        drawn = rng.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(float)


def _accuracy(weights: Array, labels: Array, predictions: Array) -> Array:
    shares: Array = weights @ (labels == predictions).T / len(labels)
    return shares


def _each(score: Metric) -> Metric:
    """Applies a score of one model's predictions to all models."""

    def of_all(weights: Array, labels: Array, predictions: Array) -> Array:
        return np.stack([score(weights, labels, predicted) for predicted in predictions], axis=1)

    return of_all


def _f1(positive: int | None) -> Metric:
    """F1 as tasks compute it: of the class `positive` if there are two classes, else the mean over those that occur."""

    def score(weights: Array, labels: Array, predictions: Array) -> Array:
        right, predicted, true = _by_class(weights, labels, predictions)
        occurrences = predicted + true
        scores = np.divide(2 * right, occurrences, out=np.zeros_like(right), where=occurrences > 0)
        if scores.shape[1] == 2 and positive is not None:
            return np.asarray(scores[:, positive])
        return np.asarray(scores.sum(axis=1) / (occurrences > 0).sum(axis=1))

    return score


def _matthews(weights: Array, labels: Array, predictions: Array) -> Array:
    """Matthews correlation (Gorodkin, 2004), as tasks compute it: 0 if labels or predictions are all one class."""
    right, predicted, true = _by_class(weights, labels, predictions)
    rows = len(labels)
    spread = (rows**2 - (true**2).sum(axis=1)) * (rows**2 - (predicted**2).sum(axis=1))
    above = right.sum(axis=1) * rows - (true * predicted).sum(axis=1)
    return np.asarray(np.divide(above, np.sqrt(spread), out=np.zeros_like(above), where=spread > 0))


def _by_class(weights: Array, labels: Array, predictions: Array) -> tuple[Array, Array, Array]:
    """Returns correct, predicted and true rows by class: (draws, classes) each."""
    classes = np.arange(max(2, int(max(labels.max(), predictions.max())) + 1))
    true, predicted = labels[:, None] == classes, predictions[:, None] == classes
    return weights @ (true & predicted), weights @ predicted, weights @ true


def _mse(weights: Array, labels: Array, predictions: Array) -> Array:
    means: Array = weights @ ((labels - predictions) ** 2).T / len(labels)
    return means


def _pearson(weights: Array, labels: Array, predictions: Array) -> Array:
    return _correlation(weights, np.broadcast_to(labels, weights.shape), np.broadcast_to(predictions, weights.shape))


def _spearman(weights: Array, labels: Array, predictions: Array) -> Array:
    return _correlation(weights, _ranks(weights, labels), _ranks(weights, predictions))


def _correlation(weights: Array, x: Array, y: Array) -> Array:
    """Pearson correlation with rows weighted by their draws; 0 if one side is constant."""
    x, y = (part - (weights * part).mean(axis=1, keepdims=True) for part in (x, y))
    above = (weights * x * y).sum(axis=1)
    spread = (weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)
    return np.asarray(np.divide(above, np.sqrt(spread), out=np.zeros_like(above), where=spread > 0))


def _ranks(weights: Array, values: Array) -> Array:
    """Returns the rank of each row among the drawn rows, with mean ranks for ties: (draws, rows)."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)  # (draws, distinct values)
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, place]


METRICS: Mapping[str, Metric] = {
    "accuracy": _accuracy,
    "f1": _each(_f1(1)),
    "macro_f1": _each(_f1(None)),
    "matthews_correlation": _each(_matthews),
    "pearson": _each(_pearson),
    "spearman": _each(_spearman),
    "mse": _mse,
}
# Other variants of a metric, which depend on the task's data: F1 of the first of two classes, or of more classes than
# occur in the test rows.
OTHERS: Mapping[str, tuple[Metric, ...]] = {"f1": (_each(_f1(0)), _each(_f1(None)))}
