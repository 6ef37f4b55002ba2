"""A search without a test score counts in the comparison: by a score that stands for it, or by no claim."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.compared import compared, grid
from tuning.outcome import ScoredRows, StudyOutcome, TrialState

pytestmark = pytest.mark.unit


def failing(strategy: str, *tests: float | None, kept: bool = False) -> list[StudyOutcome]:
    """One study per test score; None: its search has failed.

    Args:
        kept: the rows behind the scores are recorded: a hundred, of which 60 are of class 1.
    """
    labels = (1.0,) * 60 + (0.0,) * 40
    studies = []
    for seed, test in enumerate(tests):
        found = dataclasses.replace(grid(test=test, rows=100, seed=seed), strategy=strategy, kind=strategy)
        if test is None:
            dead = tuple(dataclasses.replace(one, reports=(), state=TrialState.FAILED) for one in found.trials)
            found = dataclasses.replace(found, trials=dead)
        elif kept:
            assert found.test is not None
            right = round(test * 100)
            predicted = (*labels[:right], *(1 - label for label in labels[right:]))
            found = dataclasses.replace(
                found, test=dataclasses.replace(found.test, scored=ScoredRows(labels, predicted))
            )
        studies.append(found)
    return studies


def test_a_failed_search_scores_as_the_defaults_where_they_stand() -> None:
    tests = failing("fragile", 0.95, 0.96, 0.94, None, 0.95), failing("defaults", 0.80, 0.82, 0.79, 0.82, 0.81)
    comparison = compared(*tests[0], *tests[1])
    (pair,) = comparison.pairs
    assert (pair.seeds, pair.withheld) == (5, None)
    assert pair.means == pytest.approx(((0.95 + 0.96 + 0.94 + 0.82 + 0.95) / 5, 0.808))
    assert (
        "Searches without a test score: fragile seed 3. In the pairs that of the defaults (0.820) stands for theirs: "
        "to leave them out would favour the strategy whose searches fail." in comparison.caveats
    )
    assert not pair.shown  # without the failed search p would be below 0.001


def test_a_failed_search_scores_as_the_most_frequent_class_where_the_test_rows_are_recorded() -> None:
    comparison = compared(
        *failing("fragile", 0.95, 0.96, 0.94, None, 0.95, kept=True),
        *failing("steady", 0.90, 0.91, 0.89, 0.90, 0.92, kept=True),
    )
    (pair,) = comparison.pairs
    assert (pair.first, pair.second, pair.shown) == ("steady", "fragile", False)
    assert pair.means == pytest.approx((0.904, (0.95 + 0.96 + 0.94 + 0.60 + 0.95) / 5))
    assert "that of the most frequent class (0.600) stands for theirs" in "\n".join(comparison.caveats)


def test_a_model_that_is_not_scored_yet_is_no_failed_search() -> None:
    """During a run no score is imputed and nothing is claimed."""
    tests = failing("late", 0.95, 0.96, 0.94, 0.95, kept=True), failing("early", 0.90, 0.91, 0.89, 0.9, kept=True)
    waiting = dataclasses.replace(tests[0][3], test=None)
    comparison = compared(*tests[0][:3], waiting, *tests[1])
    (pair,) = comparison.pairs
    assert (pair.seeds, pair.shown) == (3, False)
    assert pair.withheld == "late has no test score with seed 3, where early has one"
    assert "Searches without a test score" not in "\n".join(comparison.caveats)


def test_a_failed_search_has_a_rank_too() -> None:
    comparison = compared(
        *failing("fragile", 0.95, 0.96, None, kept=True), *failing("steady", 0.9, 0.91, 0.9, kept=True)
    )
    assert [(rank.strategy, rank.ranks) for rank in comparison.ranks] == [
        ("fragile", (1.0, 1.0, 2.0)),
        ("steady", (2.0, 2.0, 1.0)),
    ]


def test_nothing_is_claimed_where_a_search_failed_and_nothing_can_stand_for_it() -> None:
    comparison = compared(
        *failing("fragile", 0.95, 0.96, 0.94, None, 0.95), *failing("steady", 0.7, 0.71, 0.69, 0.7, 0.7)
    )
    (pair,) = comparison.pairs
    assert (pair.seeds, pair.shown) == (4, False)
    assert comparison.verdict.startswith(
        "No difference shown: test accuracy of the two best, fragile 0.950 and steady 0.7"
    )
    reason = "fragile has no test score with seed 3, where steady has one"
    assert f"Nothing could be claimed of them: {reason}." in comparison.verdict
    assert f"No difference is claimed, whatever its p: {reason}." in comparison.caveats


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_test_score_that_is_no_finite_number_is_a_failed_search(score: float) -> None:
    comparison = compared(*failing("a", 0.9, score, 0.91, 0.92), *failing("b", 0.5, 0.51, 0.52, 0.53))
    assert comparison.rows[0].studies[1].test is None
    assert "The test score is not finite, so the search counts as failed: a seed 1." in comparison.caveats
    assert (comparison.pairs[0].seeds, comparison.pairs[0].shown) == (3, False)
