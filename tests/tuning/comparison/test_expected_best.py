"""Tests the expected best of n draws against its closed form, and which trials count as draws."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest

from tests.support.outcomes import make_report, study, trial
from tuning.comparison import compare
from tuning.comparison.expected_best import expected_best, expected_best_curve, why_no_curve
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState

pytestmark = pytest.mark.unit


def searched(*scores: float | None, seed: int = 0, kind: str = "random") -> StudyOutcome:
    """Makes a study with one trial per score; None is a failed trial."""
    trials = [
        trial(
            i, [] if one is None else [make_report(1, one)], TrialState.FAILED if one is None else TrialState.COMPLETED
        )
        for i, one in enumerate(scores)
    ]
    return study(kind, trials, seed=seed)


def test_it_is_the_mean_of_the_largest_over_all_subsets() -> None:
    scores = np.array([0.3, 0.9, 0.1, 0.7, 0.7])
    means = [np.mean([max(few) for few in combinations(scores, n)]) for n in range(1, 6)]
    assert expected_best(scores) == pytest.approx(means)


def test_of_the_first_whole_numbers_it_is_the_closed_form() -> None:
    """The expected maximum of n of the numbers 1 to N is n (N + 1) / (n + 1)."""
    n = np.arange(1, 301)
    assert expected_best(np.arange(1.0, 301.0)) == pytest.approx(n * 301 / (n + 1))


def test_it_is_unbiased_where_drawing_with_replacement_is_too_low() -> None:
    """The expected maximum of n uniform draws from 0 to 1 is n / (n + 1)."""
    rng, n = np.random.default_rng(0), np.arange(1, 9)
    drawn = np.sort(rng.random((4000, 8)), axis=1)
    assert np.mean([expected_best(one) for one in drawn], axis=0) == pytest.approx(n / (n + 1), abs=0.01)
    shares = (np.arange(1, 9) / 8) ** 8 - (np.arange(8) / 8) ** 8  # of Dodge et al. at n = 8
    assert (drawn @ shares).mean() < 8 / 9 - 0.03


def test_a_failed_trial_is_a_draw_that_is_worse_than_any() -> None:
    scores = np.array([-np.inf, 0.2, 0.8, -np.inf])
    assert expected_best(scores).tolist() == [-np.inf, -np.inf, pytest.approx((0.2 + 0.8 * 3) / 4), pytest.approx(0.8)]
    found = expected_best_curve([searched(0.2, None, 0.8, None)])
    assert found is not None
    assert (found.trials, found.draws, found.failed) == ((3, 4), 4, 2)
    assert found.expected == (pytest.approx(0.65), pytest.approx(0.8))
    assert found.low == (None, None)


def test_seeds_are_averaged_up_to_the_trials_of_the_shortest() -> None:
    found = expected_best_curve([searched(0.1, 0.3, 0.5), searched(0.5, 0.7, seed=1)])
    assert found is not None
    assert found.trials == (1, 2)
    assert found.expected == (pytest.approx((0.3 + 0.6) / 2), pytest.approx(((0.3 + 0.5 + 0.5) / 3 + 0.7) / 2))
    assert found.cost == (pytest.approx((100 / 3 + 50) / 2), pytest.approx(100 / 3 + 50))


def test_a_loss_falls_with_the_number_of_trials_and_its_band_has_the_worse_end_first() -> None:
    found = expected_best_curve([dataclasses.replace(searched(0.1, 0.3, 0.5, 0.9), mode="min")])
    assert found is not None
    assert found.expected == (pytest.approx(0.45), pytest.approx(0.2333333), pytest.approx(0.15), pytest.approx(0.1))
    low, high = found.low[0], found.high[0]
    assert low is not None
    assert high is not None
    assert high < 0.45 < low
    assert found.low[2] is None


def test_a_trial_that_the_budget_cut_off_is_no_draw_and_costs_nothing_of_a_draw() -> None:
    whole = [trial(i, [make_report(1, 0.5), make_report(2, 0.6 + i / 10)]) for i in range(2)]
    cut = trial(2, [make_report(1, 0.9)], TrialState.STOPPED)
    found = expected_best_curve([study("random", [*whole, cut])])
    assert found is not None
    assert (found.draws, found.cut_off, found.expected[-1]) == (2, 1, 0.7)
    assert found.cost[-1] == pytest.approx(100.0 * 4 / 5)


def test_the_band_holds_the_whole_true_curve_in_nine_of_ten_searches() -> None:
    """Scores are uniform from 0 to 1, so the truth is n / (n + 1); sixteen trials give a band up to n = 8."""
    rng, count, truth = np.random.default_rng(0), 60, np.arange(1, 9) / np.arange(2, 10)
    held = 0
    for _ in range(count):
        found = expected_best_curve([searched(*rng.random(16).tolist())])
        assert found is not None
        ends = zip(found.low[:8], found.high[:8], truth, strict=True)
        held += all(low is not None and high is not None and low <= true <= high for low, high, true in ends)
    assert held >= 0.9 * count


def test_without_independent_draws_of_final_scores_there_is_none_and_the_reason_is_reported() -> None:
    stopped = compare(ExperimentOutcome("e", "d", (searched(0.5, 0.6, kind="random_asha"),)))
    assert stopped.expected == ()
    assert stopped.no_expected == (
        "it needs a strategy of kind `random`, whose trials are independent draws that all train to their end; "
        "random_asha draws independently but stops trials by their scores, so their final scores are no independent "
        "draws."
    )
    assert why_no_curve(["grid", "pbt"]).endswith("that all train to their end.")
    few = compare(ExperimentOutcome("e", "d", (searched(0.5),)))
    assert few.no_expected is not None
    assert few.no_expected.startswith("the random search has too few ended trials")
    assert expected_best_curve([searched(None, None)]) is None
    both = compare(ExperimentOutcome("e", "d", (searched(0.5, 0.6), searched(0.5, 0.6, kind="random_asha"))))
    assert [one.strategy for one in both.expected] == ["random"]
    assert both.no_expected is None
