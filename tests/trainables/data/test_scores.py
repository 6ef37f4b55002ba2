"""Scores of predictions, by hand and by peers."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.tasks import find_task

pytestmark = pytest.mark.unit


def test_f1_of_three_classes_is_the_unweighted_mean() -> None:
    scores = find_task("glue/mnli").metrics(np.eye(3)[[0, 0, 1, 1]], np.array([0, 0, 1, 2]))
    assert scores["accuracy"] == 0.75
    assert scores["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_of_a_classification_are_those_of_scikit_learn_to_the_last_bit(classes: int) -> None:
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    rng = np.random.default_rng(classes)
    for rows in (2, 3, 10, 100):
        labels, predictions = rng.integers(0, classes, rows), rng.normal(size=(rows, classes))
        chosen = predictions.argmax(axis=-1)
        f1 = f1_score(labels, chosen, average="binary" if classes == 2 else "macro", zero_division=0.0)
        assert find_task("text_classification").metrics(predictions, labels) == {
            "accuracy": accuracy_score(labels, chosen),
            "f1": f1,
            "macro_f1": f1_score(labels, chosen, average="macro", zero_division=0.0),
            "matthews_correlation": matthews_corrcoef(labels, chosen),
        }


@pytest.mark.parametrize("positive", [0, 1])
def test_f1_is_that_of_the_positive_class(positive: int) -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 30), rng.normal(size=(30, 2))
    found = find_task("text_classification").metrics(predictions, labels, positive)
    assert found["f1"] == f1_score(labels, predictions.argmax(axis=-1), pos_label=positive)
    assert found["macro_f1"] == f1_score(labels, predictions.argmax(axis=-1), average="macro")


def test_guessing_the_frequent_class_finds_none_of_the_rare_one() -> None:
    labels = np.array([0] * 16 + [1] * 144)
    scores = find_task("text_classification").metrics(np.eye(2)[np.ones(160, int)], labels, 0)
    assert (scores["accuracy"], scores["f1"], scores["matthews_correlation"]) == (0.9, 0.0, 0.0)


def test_a_constant_regressor_correlates_with_nothing() -> None:
    scores = find_task("glue/stsb").metrics(np.ones((4, 1)), np.array([0.0, 1.0, 2.0, 3.0]))
    assert scores == {"pearson": 0.0, "spearman": 0.0, "mse": 1.5}


def test_correlations_are_those_of_scipy_by_hand() -> None:
    scores = find_task("glue/stsb").metrics(np.array([1.0, 2.0, 10.0]), np.array([1.0, 2.0, 3.0]))
    assert scores["spearman"] == pytest.approx(1.0)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2, 10], [1, 2, 3])[0, 1])


def test_a_perfect_regression_has_correlations_of_one_and_no_error() -> None:
    labels = np.array([0.0, 1.0, 1.0, 2.5])
    scores = find_task("glue/stsb").metrics(labels[:, None], labels)
    assert scores == pytest.approx({"pearson": 1.0, "spearman": 1.0, "mse": 0.0})
