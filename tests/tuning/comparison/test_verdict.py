"""The sentences of a verdict: what was shown over the seeds, what was not, and what tuning gained."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.compared import compared, grid, many, pbt, with_budget
from tuning.comparison import compare
from tuning.comparison.tables import comparison_tables
from tuning.outcome import ExperimentOutcome, StudyOutcome

pytestmark = pytest.mark.unit


def test_one_seed_each_without_a_difference_names_its_size_and_interval() -> None:
    verdict = compared(grid(), pbt()).verdict
    assert verdict.startswith("No difference shown: test accuracy of the two best, pbt 0.790")
    assert "differs by 0.010 [-0.026, 0.046]" in verdict


def test_one_seed_each_never_makes_a_strategy_better_however_far_apart_the_models_are() -> None:
    comparison = compared(grid(test=0.70, rows=5000), pbt(test=0.80, rows=5000))
    assert comparison.verdict.startswith("No difference shown between strategies: one seed each.")
    assert "The models that they chose do differ" in comparison.verdict
    (pair,) = comparison.pairs
    assert pair.p is not None
    assert (pair.first, pair.about, pair.shown, pair.p < 0.001) == ("pbt", "models", False, True)


def test_the_same_difference_on_few_rows_is_none() -> None:
    verdict = compared(grid(test=0.70, rows=50), pbt(test=0.80, rows=50)).verdict
    assert verdict.startswith("No difference shown: test accuracy")


def test_without_a_test_score_there_is_no_verdict() -> None:
    comparison = compared(grid(test=None), pbt())
    assert comparison.verdict.startswith("No verdict: grid has no test score")
    assert "Not every seed has a test score: grid." in comparison.caveats


def test_one_strategy_alone_has_no_verdict() -> None:
    alone = compared(grid())
    assert alone.verdict.startswith("No verdict: one strategy alone")
    assert "One seed only for grid: another seed may find another configuration." in alone.caveats


def test_a_difference_over_seeds_is_named_with_its_size_its_interval_and_the_correction() -> None:
    first, second, third = many("a", 0.90, 0.91, 0.92), many("b", 0.70, 0.715, 0.72), many("c", 0.71, 0.70, 0.72)
    comparison = compared(*first, *second, *third)
    assert comparison.verdict.startswith(
        "a did better than b: test accuracy 0.910 against 0.712 on average over 3 seeds, a difference of 0.198 [0.1"
    )
    assert "corrected for 3 pairs" in comparison.verdict
    assert "a did better than c" in comparison.verdict
    assert "Undecided between b and c (0.002 [" in comparison.verdict
    assert comparison.ranks[0].strategy == "a"
    assert comparison.ranks[0].mean == 1.0
    assert comparison.ranked_by == "test"


def test_no_difference_over_seeds_says_what_could_have_been_detected() -> None:
    big = {"rows": 1_000_000}
    studies = *many("a", 0.80, 0.84, 0.79, 0.83, **big), *many("b", 0.79, 0.78, 0.81, 0.79, **big)
    verdict = compared(*studies).verdict
    assert verdict.startswith(
        "No difference shown: test accuracy of the two best, a 0.815 and b 0.792 on average over 4"
    )
    assert verdict.endswith(
        "Undecided: 4 seeds can detect differences from 0.074 on; to detect 0.01, which would matter, takes more than "
        "100 seeds."
    )
    coarse = compare(ExperimentOutcome("e", "d", studies), spec={"worthwhile": 0.04}).verdict
    assert "to detect 0.04, which would matter, takes about 9 seeds, in an experiment of their own." in coarse
    any_size = compare(ExperimentOutcome("e", "d", studies), spec={"worthwhile": 0.0}).verdict
    assert any_size.endswith(
        "4 seeds can detect differences from 0.074 on; without `worthwhile` nothing is called equal."
    )


def with_defaults(*scores: float, rows: int = 1_000_000) -> list[StudyOutcome]:
    return [dataclasses.replace(one, kind="defaults") for one in many("plain", *scores, rows=rows)]


def test_the_first_sentence_is_what_tuning_gained_over_the_defaults_and_what_it_took() -> None:
    plain = with_defaults(0.80, 0.81, 0.80, 0.81, 0.79)
    pbts = many("pbt", 0.85, 0.862, 0.848, 0.861, 0.84, rows=1_000_000)
    verdict = compared(*pbts, *plain).verdict
    assert verdict.startswith(
        "Tuning gained 0.050 [0.048, 0.052] accuracy over the defaults for 100 device-seconds a search: pbt 0.852 "
        "against 0.802 on test, on average over 5 seeds (paired t-test over seeds and test rows, p < 0.001). That is "
        "more than the 0.01 that matters. "
    )


def test_where_the_defaults_are_as_good_the_first_sentence_says_so() -> None:
    plain = with_defaults(0.80, 0.81, 0.80, 0.81, 0.79)
    pbts = many("pbt", 0.8005, 0.8098, 0.7995, 0.8105, 0.7905, rows=1_000_000)
    grids = many("grid", 0.70, 0.71, 0.705, 0.70, 0.69, rows=1_000_000)
    verdict = compared(*grids, *pbts, *plain).verdict
    assert verdict.startswith(
        "Tuning gained nothing that matters over the defaults, for 100 device-seconds a search: accuracy of pbt 0.802 "
        "against 0.802 on test, on average over 5 seeds, a difference of 0.000 ["
    )
    one_each = compared(*many("pbt", 0.8), *with_defaults(0.79)).verdict
    assert one_each.startswith("One seed each cannot show whether tuning gained anything over the defaults. No diff")
    assert "They differ by no more than the 0.01 that matters (two one-sided tests)." in verdict
    assert "plain did better than grid" in verdict
    worse = compared(*grids, *plain).verdict
    assert worse.startswith("Tuning lost: plain did better than grid: test accuracy 0.802 against 0.701")


def test_the_baseline_is_the_one_that_is_named_else_the_defaults_else_the_first() -> None:
    plain, pbts = with_defaults(0.80, 0.81, 0.80), many("pbt", 0.8, 0.81, 0.8)
    assert compared(*pbts, *plain).baseline == "plain"
    assert compared(*pbts, *many("grid", 0.8)).baseline == "pbt"
    named = compare(ExperimentOutcome("e", "d", (*pbts, *plain)), spec={"baseline": "pbt"})
    assert (named.baseline, named.worthwhile) == ("pbt", 0.01)
    assert not named.verdict.startswith("No gain")


def test_a_difference_that_does_not_matter_is_called_no_larger_than_that() -> None:
    first, second, third = (
        many(name, *scores, rows=1_000_000)
        for name, scores in {
            "a": (0.80, 0.81, 0.82, 0.81, 0.80),
            "b": (0.8005, 0.8098, 0.8195, 0.8105, 0.7998),
            "c": (0.70, 0.71, 0.715, 0.70, 0.69),
        }.items()
    )
    verdict = compared(*first, *second, *third).verdict
    assert "As good as each other, within 0.01: b and a (0.000 [" in verdict
    assert verdict.endswith("That holds for these splits, this model, space and budget.")


def test_what_the_defaults_cost_and_where_they_began_is_no_inequality() -> None:
    plain = [dataclasses.replace(one, wall_seconds=5.0, trials=pbt().trials) for one in with_defaults(0.80, 0.81, 0.80)]
    grids = [with_budget(one, 99.0) for one in many("grid", 0.8, 0.81, 0.8, rows=1_000_000)]
    text = "\n".join(compared(*grids, *plain).caveats)
    assert not any(words in text for words in ("Unequal budgets", "Without a budget", "Unequal initial points"))


def test_the_verdict_names_the_means_of_the_seeds_that_it_compares() -> None:
    verdict = compared(*many("a", 0.90, 0.91, 0.92, 0.1), *many("b", 0.70, 0.712, 0.718)).verdict
    assert (
        "a did better than b: test accuracy 0.910 against 0.710 on average over 3 seeds, a difference of 0.200"
        in verdict
    )


def test_small_scores_do_not_become_zero_in_the_verdict() -> None:
    verdict = compared(*many("a", 0.000412, 0.000416), *many("b", 0.000401, 0.000403)).verdict
    assert "a 0.000414 and b 0.000402 on average over 2 seeds, differs by 0.000012" in verdict


def test_a_claim_says_what_it_is_about_and_the_table_has_the_worst_and_the_middle_seeds() -> None:
    comparison = compared(*many("a", 0.90, 0.91, 0.92, 0.93, 0.91), *many("b", 0.70, 0.712, 0.72, 0.731, 0.71))
    assert comparison.verdict.endswith("That holds for these splits, this model, space and budget.")
    assert (comparison.rows[0].worst_test, comparison.pairs[0].better) == (0.90, 1.0)
    assert comparison_tables(comparison)[1].lines[0].cells[2] == "0.900, 0.913"
