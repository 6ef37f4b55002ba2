"""Tests the statistics of a comparison against textbook values, published tables, statsmodels, scipy, scikit-learn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tuning.comparison.compare import interquartile_mean
from tuning.comparison.formatting import decimals_for
from tuning.comparison.multiple_comparisons import correct_p_values, error_shares
from tuning.comparison.paired_tests import mcnemar, sign_flip
from tuning.comparison.pairs import pairs_of
from tuning.comparison.power import detectable, detectable_before, power, seeds_needed
from tuning.comparison.resampling import DRAWS, METRICS, bootstrap_scores
from tuning.comparison.scores import (
    Spread,
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


def over_seeds(*scores: float, rows: int = 0) -> list[StudyScores | None]:
    return [StudyScores(seed, (score,), rows) for seed, score in enumerate(scores)]


def model(labels: np.ndarray, right: np.ndarray, seed: int = 0) -> StudyScores:
    """Returns scores of a model that predicts the label where `right` is true, else the other class."""
    predicted = np.where(right, labels, 1 - labels)
    return StudyScores(seed, (float(right.mean()),), len(labels), (ScoredRows(tuple(labels), tuple(predicted)),))


def test_wilson_agrees_with_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    for right, rows in ((0, 20), (7, 9), (213, 277), (2500, 2500)):
        assert wilson_interval(right / rows, rows)[:2] == pytest.approx(
            proportion_confint(right, rows, method="wilson")
        )


def test_three_strategies_are_shaffers_case() -> None:
    """After the first rejection one hypothesis is left, not two, as in Shaffer (1986)."""
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    assert correct_p_values(pairs, [0.01, 0.02, 0.04], None) == pytest.approx([0.03, 0.03, 0.04])
    assert correct_p_values(pairs, [0.01, None, 0.04], None) == pytest.approx([0.02, None, 0.04])
    assert correct_p_values(pairs, [None, None, None], None) == [None, None, None]


def test_contrasts_with_the_baseline_come_first_and_the_others_after() -> None:
    pairs = [("base", "a"), ("base", "b"), ("a", "b")]
    assert error_shares(pairs, "base") == pytest.approx([0.4, 0.4, 0.2])
    assert error_shares(pairs, None) == pytest.approx([1 / 3] * 3)
    assert error_shares(pairs[:1], "base") == [1.0]
    # All three equal: 0.02 / 0.4. One contrast refused, the pair of the others has all of the rate to itself.
    assert correct_p_values(pairs, [0.01, 0.3, 0.04], "base") == pytest.approx([0.025, 0.3, 0.04])
    assert correct_p_values(pairs, [0.3, 0.3, 0.04], "base") == pytest.approx([0.3, 0.3, 0.2])


def test_no_pair_is_corrected_by_more_than_holm_would_where_all_count_alike() -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for strategies in (4, 5, 9):
        pairs = list(combinations(range(strategies), 2))
        found = rng.random(len(pairs)) ** 3 / 10
        ours, holms = correct_p_values(pairs, found.tolist(), None), multipletests(found, method="holm")[1]
        if strategies == 9:  # too many partitions: Holm's
            assert ours == pytest.approx(holms)
        else:
            assert (np.array(ours) <= holms + 1e-12).all()
            assert ours != pytest.approx(holms)


def test_mcnemar_agrees_with_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import mcnemar as of_table

    for one, other in ((10, 2), (3, 3), (0, 6), (40, 22)):
        assert mcnemar(one, other) == pytest.approx(of_table([[5, one], [other, 7]], exact=True).pvalue)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 6) == pytest.approx(2 / 64)


def test_the_sign_flip_test_gives_fishers_p_for_darwins_maize() -> None:
    """In Fisher (1935), section 21, 1,726 of 2^15 assignments reach the sum of Darwin's 15 differences: p = 0.05267."""
    darwin = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
    assert sign_flip(darwin) == pytest.approx(1726 / 2**15)


def test_the_sign_flip_test_agrees_with_scipy_and_goes_on_beyond_what_can_be_gone_through() -> None:
    from scipy.stats import permutation_test

    differences = np.random.default_rng(1).normal(0.4, 1.0, 9)
    exact = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences) == pytest.approx(exact.pvalue)
    assert sign_flip(np.full(6, 0.1)) == 2 / 64
    assert sign_flip(np.full(30, 0.1)) < 0.001


def test_the_paired_test_over_seeds_is_students_where_nothing_is_known_of_rows() -> None:
    from scipy.stats import ttest_rel

    a, b = (0.71, 0.74, 0.69, 0.75, 0.73), (0.70, 0.71, 0.70, 0.71, 0.70)
    (pair,) = pairs_of({"b": over_seeds(*b), "a": over_seeds(*a)}, "score", "max")
    known = ttest_rel(a, b)
    assert (pair.first, pair.second, pair.about, pair.seeds) == ("a", "b", "strategies", 5)
    assert pair.p == pytest.approx(known.pvalue)
    assert pair.interval is not None
    assert pair.interval[:2] == pytest.approx(tuple(known.confidence_interval()))
    assert pair.permutation == pytest.approx(6 / 32)


def test_only_seeds_in_common_make_a_pair() -> None:
    both = {"a": over_seeds(0.7, 0.8, 0.9), "b": [None, StudyScores(1, (0.5,), 0), StudyScores(7, (0.1,), 0)]}
    (pair,) = pairs_of(both, "score", "max")
    assert (pair.seeds, pair.about, pair.p, pair.difference) == (1, "models", None, pytest.approx(0.3))
    assert pairs_of({"a": over_seeds(0.7), "b": [None]}, "score", "max") == ()


def test_a_lower_score_is_the_first_of_its_pair_when_the_mode_is_min() -> None:
    (pair,) = pairs_of({"a": over_seeds(0.7, 0.8), "b": over_seeds(0.5, 0.7)}, "mse", "min")
    assert (pair.first, pair.difference) == ("b", pytest.approx(-0.15))


def test_equal_differences_are_left_to_the_signs_of_the_seeds() -> None:
    """A t-test has no variance to divide by; five equal seeds have a chance of one in sixteen."""
    for seeds, p in ((5, 2 / 32), (7, 2 / 128)):
        tests = {"a": over_seeds(*[0.8] * seeds, rows=9), "b": over_seeds(*[0.7] * seeds, rows=9)}
        (pair,) = pairs_of(tests, "score", "max", rowless=True)
        assert (pair.p, pair.shown) == (p, p < 0.05)
    (with_rows,) = pairs_of(
        {"a": over_seeds(*[0.8] * 5, rows=5000), "b": over_seeds(*[0.7] * 5, rows=5000)}, "accuracy", "max"
    )
    assert (with_rows.p, with_rows.shown) == (2 / 32, False)  # rows say nothing of seeds
    (tie,) = pairs_of({"a": over_seeds(*[0.8] * 7), "b": over_seeds(*[0.8] * 7)}, "score", "max")
    assert (tie.p, tie.shown) == (1.0, False)


def test_two_seeds_are_too_few_whatever_they_say() -> None:
    (pair,) = pairs_of({"a": over_seeds(0.9, 0.9001), "b": over_seeds(0.1, 0.1)}, "score", "max")
    assert pair.p is not None
    assert (pair.p < 0.001, pair.shown) == (True, False)


def of_models(models: str, *scores: float) -> list[StudyScores | None]:
    """A letter names the model of a seed; a blank stands for an unknown model."""
    known = (frozenset({(one,)}) if one.strip() else frozenset() for one in models)
    return [
        StudyScores(seed, (score,), 0, models=one) for seed, (one, score) in enumerate(zip(known, scores, strict=True))
    ]


@pytest.mark.parametrize(
    ("of_a", "of_b", "seeds"),
    [
        ("abcde", "vwxyz", 5),
        ("     ", "     ", 5),
        ("aaaaa", "vwxyz", 1),  # a constant tells one thing, whatever it is held against
        ("abcda", "vwxyz", 4),
        ("abcde", "vvxyy", 3),
        ("aabbe", "vwwyz", 2),  # seeds 0 to 3 hang together over both
    ],
)
def test_seeds_that_came_to_the_same_model_are_one_observation(of_a: str, of_b: str, seeds: int) -> None:
    tests = {"a": of_models(of_a, 0.9, 0.91, 0.92, 0.9, 0.89), "b": of_models(of_b, 0.5, 0.51, 0.49, 0.5, 0.52)}
    (pair,) = pairs_of(tests, "score", "max", rowless=True)
    assert (pair.seeds, pair.shown) == (seeds, seeds >= 3)


def test_nothing_is_claimed_by_a_metric_whose_rows_are_not_known() -> None:
    tests = {"a": over_seeds(0.21, 0.22, 0.23, 0.22, rows=400), "b": over_seeds(0.51, 0.52, 0.54, 0.52, rows=400)}
    (pair,) = pairs_of(tests, "loss", "min")
    assert (pair.first, pair.shown, pair.withheld) == (
        *("a", False),
        "how much loss depends on the choice of test rows is not known",
    )
    assert pair.p is not None
    assert pair.p < 0.001
    (exact,) = pairs_of(tests, "loss", "min", rowless=True)
    assert (exact.shown, exact.withheld) == (True, None)
    (share,) = pairs_of(tests, "accuracy", "max")
    assert (share.first, share.shown) == ("b", True)  # the error of a share of right rows is known from it


def test_nothing_is_claimed_where_one_of_the_two_has_lost_a_seed_that_the_other_has() -> None:
    tests = {"a": [*over_seeds(0.9, 0.91, 0.92, rows=9), None], "b": over_seeds(0.5, 0.512, 0.518, 0.53, rows=9)}
    (pair,) = pairs_of(tests, "score", "max", lost={"a": {3}, "b": set()}, rowless=True)
    assert (pair.shown, pair.withheld) == (False, "a has no test score with seed 3, where b has one")
    assert pair.means == pytest.approx((0.91, 0.51))  # over the seeds that both have
    (not_searched,) = pairs_of(tests, "score", "max", rowless=True)
    assert not_searched.shown


def test_the_chance_to_be_better_is_the_mann_whitney_statistic() -> None:
    from scipy.stats import mannwhitneyu

    a, b = (0.7, 0.8, 0.9, 0.8), (0.8, 0.75, 0.6, 0.65)
    (pair,) = pairs_of({"a": over_seeds(*a), "b": over_seeds(*b)}, "score", "max")
    assert pair.better == pytest.approx(mannwhitneyu(a, b).statistic / 16)
    (low,) = pairs_of({"a": over_seeds(*a), "b": over_seeds(*b)}, "score", "min")
    assert (low.first, low.better) == ("b", pair.better)


def test_the_interquartile_mean_leaves_out_the_best_and_the_worst_quarter() -> None:
    assert interquartile_mean([0.1, 0.8, 0.82, 0.84, 0.99]) == pytest.approx(0.82)
    assert interquartile_mean([0.1, 0.8, 0.9]) == pytest.approx(0.6)
    assert interquartile_mean([]) is None


def test_small_scores_are_told_with_three_significant_digits() -> None:
    assert [decimals_for([score]) for score in (0.91, 12.0, 0.0, 0.05, 0.000412)] == [3, 3, 3, 4, 6]
    assert decimals_for([None, float("inf"), 0.02, 0.8]) == 3


def test_one_model_each_is_mcnemars_case() -> None:
    labels = np.zeros(100)
    first, second = np.arange(100) < 90, np.arange(100) < 78
    (pair,) = pairs_of(
        with_bootstrap({"a": [model(labels, first)], "b": [model(labels, second)]}, "accuracy"), "accuracy", "max"
    )
    assert (pair.about, pair.test, pair.rows) == ("models", "McNemar's exact test", 100)
    assert pair.p == mcnemar(12, 0)
    assert not pair.shown


def test_the_power_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    known = TTestPower()
    for size, seeds in ((0.5, 20), (1.0, 6), (2.0, 4)):
        at = Spread(1.0 / seeds, seeds - 1, 0.0)
        assert power(size, at, seeds, 0.05) == pytest.approx(known.power(size, seeds, 0.05), abs=1e-6)
    assert seeds_needed(0.5, Spread(1.0 / 5, 4, 0.0), 5, 0.05) == (
        34,
        False,
        False,
    )  # Cohen's d of 0.5, Cohen (1988)


def test_the_power_grows_with_the_difference_everywhere() -> None:
    """scipy's noncentral t is NaN for some of these arguments."""
    for freedom, alpha in ((2, 0.01), (4, 0.0167)):
        at = Spread(1.0, freedom, 0.0)
        found = [power(size, at, freedom + 1, alpha) for size in np.linspace(0.0, 3 * at.half_width(alpha), 400)]
        assert (np.diff(found) > 0).all()


def test_the_detectable_difference_is_what_statsmodels_finds_in_80_of_100() -> None:
    from statsmodels.stats.power import TTestPower

    for seeds, alpha in ((5, 0.05), (5, 0.05 / 3), (10, 0.02)):
        known = TTestPower().solve_power(nobs=seeds, alpha=alpha, power=0.8)
        assert detectable(Spread(1.0 / seeds, seeds - 1, 0.0), seeds, alpha) == pytest.approx(known, rel=1e-4)
    one_model = Spread(0.0, np.inf, 0.01**2)
    assert detectable(one_model, 1, 0.05) == pytest.approx(0.01 * (1.95996 + 0.84162), rel=1e-3)
    assert detectable(Spread(0.0, 2, 0.0), 3, 0.05) is None


def test_what_seeds_and_rows_can_tell_is_known_before_anything_is_run() -> None:
    """The reference is a paired t-test of five seeds whose differences have sd root(2 x 0.01^2 + 0.1 / 1,000)."""
    from statsmodels.stats.power import TTestPower

    size = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert detectable_before(5, 1000, 2) == pytest.approx(size * np.sqrt(3e-4), rel=1e-4)
    several = [detectable_before(5, 1000, strategies) or 0 for strategies in (2, 3, 7)]
    assert several == sorted(several)
    assert (detectable_before(2, 1000, 3), detectable_before(5, 1000, 1)) == (None, None)


@pytest.mark.parametrize(
    ("differences", "answer"),
    [
        ((0.050, 0.052, 0.048, 0.051), "better by more"),
        ((0.020, 0.009, 0.026, 0.015), "better"),
        ((0.0040, 0.0045, 0.0042, 0.0041), "better by less"),
        ((0.0010, -0.0012, 0.0004, -0.0001), "no larger"),
        ((0.030, -0.040, 0.060, 0.001), "undecided"),
    ],
)
def test_a_pair_has_one_of_five_answers_by_the_difference_that_matters(
    differences: tuple[float, ...], answer: str
) -> None:
    tests = {"a": over_seeds(*(0.8 + size for size in differences)), "b": over_seeds(*[0.8] * 4)}
    (pair,) = pairs_of(tests, "score", "max", worthwhile=0.01, rowless=True)
    assert (pair.answer, pair.shown) == (answer, answer.startswith("better"))
    (without,) = pairs_of(tests, "score", "max", rowless=True)
    assert without.answer is None


def test_no_larger_difference_is_two_one_sided_tests_and_agrees_with_statsmodels() -> None:
    from statsmodels.stats.weightstats import ttost_paired

    a = np.array([0.801, 0.796, 0.804, 0.799, 0.802])
    b = np.array([0.800, 0.799, 0.801, 0.801, 0.799])
    tests = {"a": over_seeds(*a), "b": over_seeds(*b)}
    edge = next(size for size in np.arange(0.001, 0.01, 1e-5) if ttost_paired(a, b, -size, size)[0] < 0.05)
    for size, answer in ((edge, "no larger"), (edge - 2e-5, "undecided")):
        assert pairs_of(tests, "score", "max", worthwhile=float(size), rowless=True)[0].answer == answer


def test_what_a_withheld_pair_could_have_been_is_undecided() -> None:
    tests = {"a": over_seeds(0.8001, 0.8, 0.7999, rows=9), "b": over_seeds(0.8, 0.8001, 0.8, rows=9)}
    (pair,) = pairs_of(tests, "loss", "min", worthwhile=0.01)
    assert (pair.answer, pair.shown) == ("undecided", False)


def test_intervals_hold_at_once_and_end_at_zero_where_a_later_step_shows_the_difference() -> None:
    tests = {
        "base": over_seeds(*[0.7 + s / 100 for s in range(5)]),
        "a": over_seeds(*[0.9 + s / 100 + (-1) ** s / 1000 for s in range(5)]),
        "b": over_seeds(*[0.85 + s / 100 + (0.02, -0.02, 0.01, 0.03, -0.03)[s] for s in range(5)]),
    }
    found = pairs_of(tests, "score", "max", baseline="base", rowless=True)
    assert [pair.second for pair in found] == ["base", "base", "b"]  # those with the baseline first
    last = found[-1]
    assert (last.shown, last.p == last.corrected) == (True, True)  # the whole rate is left for it
    assert last.interval is not None
    assert (last.interval.low, last.interval.high > 0.1) == (0.0, True)


def test_some_differences_need_more_than_a_hundred_seeds_and_some_no_number_of_them() -> None:
    assert seeds_needed(0.1, Spread(1.0 / 5, 4, 0.0), 5, 0.05) == (None, True, False)
    assert seeds_needed(0.01, Spread(1e-9, 4, 0.01**2), 5, 0.05) == (None, True, True)  # the rows alone hide it
    assert seeds_needed(0.0, Spread(1.0, 4, 0.0), 5, 0.05) == (None, True, False)
    assert seeds_needed(0.1, Spread(0.0, 4, 0.0), 5, 0.05) == (6, False, False)  # equal differences: 2/2^6 is below 5 %


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
    """250 experiments of 5 seeds x 200 rows, seeds and rows both drawn: the mean over all of either is in 95 % of them,
    within the simulation's own error; the interval of seeds alone would hold it less often."""
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
