"""The tests of a pair of strategies, against textbook values, published tables, statsmodels and scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.support.study_scores import model, over_seeds
from tuning.comparison.compare import interquartile_mean
from tuning.comparison.formatting import decimals_for
from tuning.comparison.multiple_comparisons import correct_p_values, error_shares
from tuning.comparison.paired_tests import mcnemar, sign_flip
from tuning.comparison.pairs import pairs_of
from tuning.comparison.scores import StudyScores, with_bootstrap

pytestmark = pytest.mark.unit


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


def test_small_scores_are_shown_with_three_significant_digits() -> None:
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
