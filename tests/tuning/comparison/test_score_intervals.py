"""Test scores and their intervals: metrics on drawn rows, the bootstrap, the spread over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.study_scores import model, over_seeds
from tuning.comparison.resampling import DRAWS, METRICS, bootstrap_scores
from tuning.comparison.scores import (
    StudyScores,
    common_error,
    mean_estimate,
    same_rows,
    study_interval,
    wilson_interval,
    with_bootstrap,
)
from tuning.outcome import ScoredRows

pytestmark = pytest.mark.unit


def test_wilson_agrees_with_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for right, rows in ((0, 20), (7, 9), (213, 277), (2500, 2500)):
        assert wilson_interval(right / rows, rows)[:2] == pytest.approx(
            proportion_confint(right, rows, method="wilson")
        )


def test_wilsons_interval_matches_published_values() -> None:
    low, high = wilson_interval(81 / 263, 263)[:2]  # Newcombe (1998), table I: 0.2553 to 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson_interval(0.0, 20)[:2] == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.1611, abs=5e-5))


def test_every_metric_on_rows_is_the_tasks_own() -> None:
    from trainables.tasks import find_task

    rng = np.random.default_rng(0)
    for classes in (2, 3):
        labels, predictions = rng.integers(classes, size=60), rng.integers(classes, size=(2, 60))
        predictions[0, :40] = labels[:40]
        for predicted, place in zip(predictions, (0, 1), strict=True):
            expected = find_task("text_classification").metrics(np.eye(classes)[predicted], labels)
            for name in ("accuracy", "f1", "macro_f1", "matthews_correlation"):
                found = bootstrap_scores(name, labels.astype(float), predictions.astype(float))
                assert found is not None
                assert found[0][place] == pytest.approx(expected[name]), name
    values, predicted = rng.integers(6, size=60).astype(float), rng.normal(size=60).round(1)
    expected = find_task("text_regression").metrics(predicted[:, None], values)
    for name in ("pearson", "spearman", "mse"):
        found = bootstrap_scores(name, values, predicted[None])
        assert found is not None
        assert found[0][0] == pytest.approx(expected[name]), name


@pytest.mark.parametrize("positive", [0, 1])
def test_the_recorded_scores_tell_which_class_f1_is_of(positive: int) -> None:
    from trainables.tasks import find_task

    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(2, size=60), (rng.random(60) < 0.8).astype(int)
    score = find_task("text_classification").metrics(np.eye(2)[predicted], labels, positive)["f1"]
    test = StudyScores(0, (score,), 60, (ScoredRows(tuple(labels.tolist()), tuple(predicted.tolist())),))
    (found,) = with_bootstrap({"a": [test]}, "f1")["a"]
    assert found is not None
    assert found.bootstrap is not None
    assert found.bootstrap.mean() == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_draw_of_rows_scores_as_those_rows_do(metric: str) -> None:
    """Rows that are drawn twice count twice, also for ranks and classes."""
    rng = np.random.default_rng(3)
    labels, predictions = rng.integers(3, size=40).astype(float), rng.integers(3, size=(1, 40)).astype(float)
    drawn = rng.integers(40, size=40)
    weights = np.bincount(drawn, minlength=40).astype(float)[None]
    by_weight = METRICS[metric](weights, labels, predictions)
    one_by_one = METRICS[metric](np.ones((1, 40)), labels[drawn], predictions[:, drawn])
    assert by_weight == pytest.approx(one_by_one)


def test_the_bootstrap_over_rows_has_the_known_standard_error_of_a_share() -> None:
    labels = np.zeros(400)
    (test,) = with_bootstrap({"a": [model(labels, np.arange(400) < 300)]}, "accuracy")["a"]
    assert test is not None
    assert test.bootstrap is not None
    assert len(test.bootstrap) == DRAWS
    assert test.bootstrap.std() == pytest.approx((0.75 * 0.25 / 400) ** 0.5, rel=0.05)


def test_rows_that_do_not_give_the_recorded_score_are_not_used() -> None:
    labels = np.zeros(50)
    honest = model(labels, np.arange(50) < 40)
    other = StudyScores(0, (0.5,), 50, honest.scored_rows)
    drawn = with_bootstrap({"a": [honest], "b": [other]}, "accuracy")
    assert [test.bootstrap is None for tests in drawn.values() for test in tests if test] == [False, True]
    assert with_bootstrap({"a": [honest]}, "a metric of one's own")["a"] == [honest]


def test_models_that_predicted_other_rows_are_not_paired_by_row() -> None:
    one, other = model(np.zeros(50), np.arange(50) < 40), model(np.ones(50), np.arange(50) < 40)
    drawn = with_bootstrap({"a": [one], "b": [other]}, "accuracy")
    tests = [test for found in drawn.values() for test in found if test]
    assert all(test.bootstrap is not None for test in tests)
    assert not same_rows(tests)


def test_the_interval_over_seeds_and_rows_covers_the_truth_as_often_as_it_says() -> None:
    """The interval holds the mean over all seeds and rows in 95 % of 250 experiments of 5 seeds x 200 rows, both drawn.

    That is within the simulation's own error; the interval of seeds alone would hold it less often.
    """
    rng = np.random.default_rng(5)
    truth, held = 0.0, 0
    for _ in range(250):
        labels = rng.normal(size=200)
        hard, seeds = rng.normal(size=200) * 0.5, rng.normal(size=5) * 0.02
        predicted = labels + np.sqrt(np.abs(1 + hard + seeds[:, None] + rng.normal(size=(5, 200)) * 0.1))
        scores = ((predicted - labels) ** 2).mean(axis=1)
        tests = [
            StudyScores(i, (float(score),), 200, (ScoredRows(tuple(labels), tuple(row)),))
            for i, (score, row) in enumerate(zip(scores, predicted, strict=True))
        ]
        found = mean_estimate([t for t in with_bootstrap({"a": tests}, "mse")["a"] if t], "mse").interval
        assert found is not None
        truth = 1.0
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 250 <= 0.985


def test_only_what_rows_do_to_all_seeds_alike_is_added_to_the_spread_between_seeds() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=20_000), rng.normal(size=(5, 20_000))
    assert common_error(0.3 * shared + 0.1 * own) == pytest.approx(0.09, rel=0.03)
    assert common_error(own) == pytest.approx(0.0, abs=0.02)
    assert common_error(np.stack([shared, -shared])) == 0.0  # never below nothing
    assert common_error(shared[None]) == pytest.approx(1.0, rel=0.03)  # of one seed all of it


def test_the_interval_of_one_study_is_of_rows_and_with_several_trainings_of_those_too() -> None:
    one = study_interval(StudyScores(0, (0.8,), 100), "accuracy")
    assert one == wilson_interval(0.8, 100)
    several = study_interval(StudyScores(0, (0.80, 0.82, 0.78), 100), "accuracy")
    assert several is not None
    assert several.covers == ("rows", "trainings")
    assert several.high - several.low > one.high - one.low
    assert study_interval(StudyScores(0, (0.8,), 0), "accuracy") is None


def test_over_seeds_without_rows_the_interval_is_students() -> None:
    estimate = mean_estimate([test for test in over_seeds(0.1, 0.2, 0.3, 0.4) if test], "loss")
    assert estimate.value == pytest.approx(0.25)
    assert estimate.interval is not None
    assert estimate.interval.covers == ("seeds",)
    assert estimate.interval.high - 0.25 == pytest.approx(3.182 * 0.1291 / 2, abs=1e-4)
