"""Tests comparisons of hand-made outcomes with known answers."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.budget import BudgetUse, Price
from tuning.comparison import compare
from tuning.comparison.scores import wilson_interval
from tuning.comparison.tables import comparison_tables
from tuning.outcome import Confirmation, ExperimentOutcome, ScoredRows, Stretch, StudyOutcome, StudyState, TrialState

pytestmark = pytest.mark.unit


def compared(*studies: StudyOutcome):
    return compare(ExperimentOutcome("e", "d", studies))


def grid(accuracy: float = 0.8, test: float | None = 0.78, rows: int = 1000, **others) -> StudyOutcome:
    trials = [
        trial(0, [make_report(1, accuracy - 0.1), make_report(2, accuracy)]),
        trial(1, [make_report(1, 0.3), make_report(2, 0.4)]),
    ]
    return study("grid", trials, test=None if test is None else scored("t0", 2, test, rows), **others)


def pbt(test: float | None = 0.79, rows: int = 1000, **others) -> StudyOutcome:
    return study("pbt", list(population()), test=None if test is None else scored("t1", 3, test, rows), **others)


def test_a_row_holds_the_best_validation_score_with_its_epoch_params_and_cost() -> None:
    (row,) = compared(grid()).rows
    assert row.best is not None
    assert row.best.chosen is not None
    assert (row.best.chosen.validation, row.best.chosen.epoch, row.best.chosen.trial) == (0.8, 2, "t0")
    assert row.best.chosen.params == {"learning_rate": 0.1}
    assert row.device_seconds == 100.0 * 2 * 0.5  # wall x slots x devices per trial
    assert (row.epochs, row.trials, row.completed) == (4.0, 2, 2)


def test_epochs_after_an_exploit_count_from_the_donors_epoch() -> None:
    donor, member = population()
    assert donor.epochs_trained == 3
    assert member.epochs_trained == 4  # 1, 2, then from the donor's 1 to 2 and 3
    assert member.epochs == 3


def test_the_history_of_a_clones_score_goes_through_its_donor() -> None:
    donor, member = population()
    both = study("pbt", [donor, member])
    assert both.history(member, member.reports[3]) == (donor.reports[0], *member.reports[2:])
    assert both.history(member, member.reports[1]) == member.reports[:2]  # before the exploit: its own


def test_the_best_of_a_population_is_a_schedule_of_the_values_in_force() -> None:
    best = compared(pbt()).rows[0].best
    assert best is not None
    assert best.chosen is not None
    assert best.chosen.schedule == (Stretch(0, 1, {"learning_rate": 0.2}), Stretch(1, 3, {"learning_rate": 0.4}))
    assert best.chosen.params == {"learning_rate": 0.4}


def test_the_median_is_over_the_seeds_and_the_best_seed_is_named() -> None:
    (row,) = compared(grid(0.7, 0.6, seed=0), grid(0.9, 0.8, seed=1), grid(0.8, 0.7, seed=2)).rows
    assert row.best is not None
    assert (row.median_validation, row.median_test, row.best.seed) == (0.8, 0.7, 1)
    assert row.device_seconds == 300.0


def test_a_lower_loss_wins_when_the_mode_is_min() -> None:
    low, high = (
        dataclasses.replace(study(name, [trial(0, [make_report(1, loss)])]), mode="min")
        for name, loss in (("low", 0.2), ("high", 0.4))
    )
    assert compared(high, low).best == compared(low).rows[0]


def test_wilsons_interval_matches_published_values() -> None:
    low, high = wilson_interval(81 / 263, 263)[:2]  # Newcombe (1998), table I: 0.2553 to 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson_interval(0.0, 20)[:2] == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.1611, abs=5e-5))


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


def test_where_nothing_has_a_score_only_what_failed_is_told() -> None:
    failed = trial(0, [], TrialState.FAILED, error="ValueError: x")
    lost = [dataclasses.replace(one, trials=(failed,), test=None) for one in (grid(wall=300.0), pbt())]
    nothing = compared(*lost)
    assert nothing.verdict == "No verdict: no strategy has a score."
    assert list(nothing.caveats) == [
        f"{name}: 1 of 1 trials failed; they cost time and gave no configuration." for name in ("grid", "pbt")
    ]
    assert [len(table.columns) > 1 for table in comparison_tables(nothing)] == [True]  # none that has names alone
    one_scored = compared(lost[0], pbt())
    assert one_scored.verdict.startswith("No verdict: fewer than two strategies")


def test_a_metric_that_is_no_share_of_rows_gets_no_interval_and_no_verdict() -> None:
    def with_f1(outcome: StudyOutcome) -> StudyOutcome:
        trials = tuple(
            dataclasses.replace(t, reports=tuple(r._replace(metrics={"f1": r.metrics["accuracy"]}) for r in t.reports))
            for t in outcome.trials
        )
        assert outcome.test is not None
        test = dataclasses.replace(outcome.test, metrics={"f1": outcome.test.metrics["accuracy"]})
        return dataclasses.replace(outcome, metric="f1", trials=trials, test=test)

    comparison = compared(with_f1(grid()), with_f1(pbt()))
    assert comparison.rows[0].best is not None
    assert (comparison.rows[0].best.test, comparison.rows[0].best.interval) == (0.78, None)
    assert "f1 is no share of rows" in comparison.verdict


def test_each_weakness_of_the_data_is_a_caveat() -> None:
    failed = trial(2, [], TrialState.FAILED, error="ValueError: x")
    weak = dataclasses.replace(grid(wall=300.0, state=StudyState.RUNNING), trials=(*grid().trials, failed))
    caveats = "\n".join(compared(weak, pbt()).caveats)
    assert "Not finished: grid seed 0." in caveats
    assert "One seed only for grid and pbt" in caveats
    assert "grid: 1 of 3 trials failed" in caveats
    assert "grid used 3.0 times the device-seconds of pbt (300 against 100)" in caveats
    assert "best of many evaluations" in caveats
    assert "grid 4, pbt 7" in caveats


def test_sound_data_leave_only_the_caveats_of_the_validation_score_and_of_equal_choices() -> None:
    grids = [grid(0.80 + 0.01 * s, 0.70 + 0.01 * s, seed=s) for s in range(4)]
    rivals = [dataclasses.replace(grid(0.81 + 0.02 * s, 0.80 + 0.011 * s, seed=s), strategy="rival") for s in range(4)]
    same, caveat = compared(*grids, *rivals).caveats
    assert same.startswith("Chose the same configuration: grid and rival in 4 of 4 seeds.")
    assert "Validation scores" in caveat


def test_a_test_score_of_another_trial_than_the_best_is_told() -> None:
    other = dataclasses.replace(grid(), test=scored("t1", 2, 0.5))
    assert any("the test score is of trial 1 (t1)" in caveat for caveat in compared(other).caveats)


def test_a_study_without_a_report_has_a_row_without_scores() -> None:
    (row,) = compared(study("grid", [])).rows
    assert (row.best, row.median_validation, row.epochs) == (None, None, 0)


def test_an_experiment_without_a_study_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no study"):
        compared()


def test_a_test_score_over_no_rows_has_no_interval() -> None:
    """Removes the rows, as in an outcome of a closed-form or user's trainable."""
    grid = study("grid", [trial(0, [make_report(1, 0.7)])], test=scored("t0", 1, 0.7, rows=0))
    comparison = compare(ExperimentOutcome("e", "d", (grid,)))
    assert comparison.rows[0].best is not None
    assert (comparison.rows[0].best.test, comparison.rows[0].best.interval) == (0.7, None)


def test_strategies_that_began_elsewhere_are_told_and_those_that_began_alike_are_not() -> None:
    same, elsewhere = dataclasses.replace(grid(), strategy="other"), grid()
    start = dataclasses.replace(elsewhere.trials[0], params={"learning_rate": 0.5})
    elsewhere = dataclasses.replace(elsewhere, strategy="third", trials=(start, *elsewhere.trials[1:]))
    caveats = compared(grid(), same, pbt()).caveats
    assert "Unequal initial points: grid and other began with other values than pbt." in caveats
    caveats = compared(grid(), same, pbt(), elsewhere).caveats
    assert "Unequal initial points, the same only within each of: grid and other; pbt; third." in caveats
    assert not any("initial points" in caveat for caveat in compared(grid(), same).caveats)


def with_budget(outcome: StudyOutcome, spent: float, *, reached: bool = False) -> StudyOutcome:
    return dataclasses.replace(outcome, budget=BudgetUse("device_seconds", 100.0, spent, reached))


def test_what_of_the_budget_is_unspent_or_overrun_and_who_was_ended_by_it_are_caveats() -> None:
    caveats = "\n".join(
        compared(
            with_budget(grid(), 40.0), with_budget(grid(seed=1), 98.0), with_budget(pbt(), 112.0, reached=True)
        ).caveats
    )
    assert "Ended by the budget, with the best so far: pbt seed 0." in caveats
    assert "Over the budget, until the last trial had stopped: pbt seed 0 by 12%." in caveats
    assert "Budget left unspent, because the strategy had ended: grid seed 0 60%." in caveats
    assert "Without a budget: pbt" in "\n".join(compared(with_budget(grid(), 99.0), pbt()).caveats)


def test_caveats_of_many_studies_are_told_by_strategy() -> None:
    grids = [with_budget(grid(seed=seed), 100.0 + 4 * seed, reached=True) for seed in range(4)]
    pbts = [with_budget(pbt(seed=seed), 108.0, reached=seed < 2) for seed in range(4)]
    caveats = "\n".join(compared(*grids, *pbts).caveats)
    assert "Ended by the budget, with the best so far: grid (all 4 seeds) and pbt seeds 0 and 1." in caveats
    assert "had stopped: grid seeds 2 and 3 by 8 to 12% and pbt (all 4 seeds) by 8%." in caveats
    everyone = compared(*grids, *(with_budget(pbt(seed=seed), 100.0, reached=True) for seed in range(4)))
    assert "Ended by the budget, with the best so far: every study." in everyone.caveats


def test_unequal_spaces_are_told_by_the_spec() -> None:
    outcome = ExperimentOutcome("e", "d", (grid(), pbt()))
    narrow = {"learning_rate": {"uniform": [0.1, 0.2]}}
    strategies = [{"kind": "grid", "label": None, "space": None}, {"kind": "pbt", "label": None, "space": narrow}]
    spec = {"space": {"learning_rate": {"uniform": [0, 1]}}, "strategies": strategies}
    assert any("Unequal spaces: pbt searched a space of its own" in c for c in compare(outcome, spec=spec).caveats)
    same = {"space": narrow, "strategies": strategies}
    assert not any("Unequal spaces" in c for c in compare(outcome, spec=same).caveats)


def test_a_test_that_is_too_small_for_the_effect_says_what_it_could_tell() -> None:
    assert any(
        "The test is too small for the effect: pbt and grid differ by 0.010, while one seed can detect" in caveat
        for caveat in compared(grid(), pbt()).caveats
    )
    assert not any("too small" in c for c in compared(grid(test=0.5, rows=5000), pbt(test=0.8, rows=5000)).caveats)


def confirmed(outcome: StudyOutcome, *scores: float, rank: int = 1, tested: bool = True) -> StudyOutcome:
    """Makes one training per validation score; its test score is 0.01 lower."""
    best = outcome.best()
    assert best is not None
    trainings = tuple(
        Confirmation(
            *(rank, best[0].id, best[1].epoch, (Stretch(0.0, 2.0, {"learning_rate": 0.3}),), 0.79, 1000 + i, 5.0, 0.0),
            validation={"accuracy": score},
            test={"accuracy": score - 0.01} if tested else None,
        )
        for i, score in enumerate(scores)
    )
    return dataclasses.replace(outcome, confirmations=(*outcome.confirmations, *trainings))


def test_the_winners_curse_is_the_gap_between_the_searchs_best_and_the_confirmed_mean() -> None:
    study_of_grid = confirmed(confirmed(grid(0.8), 0.70, 0.72, tested=False), 0.74, 0.76, rank=2)
    comparison = compared(study_of_grid, confirmed(pbt(), 0.77, 0.79))
    row = comparison.rows[0]
    assert row.best is not None
    assert row.best.confirmed is not None
    assert (row.best.confirmed.rank, row.best.confirmed.mean) == (2, pytest.approx(0.75))
    assert row.gap == pytest.approx(0.05)
    assert (row.best.test, row.confirming) == (pytest.approx(0.74), 20.0)
    assert comparison.best is comparison.rows[1]  # 0.78 confirmed
    assert "Winner's curse: the search's best validation score exceeds the confirmed one, grid by 0.050" in (
        "\n".join(comparison.caveats)
    )
    (pair,) = comparison.pairs
    assert (pair.about, pair.shown) == ("configurations", False)


def test_of_a_loss_the_curse_is_positive_where_the_search_looked_too_good() -> None:
    low = dataclasses.replace(confirmed(grid(0.8), 0.95), mode="min")
    (row,) = compared(low).rows
    assert row.gap == pytest.approx(0.95 - 0.3)  # the lowest score of the search


def test_costs_are_told_in_money_at_the_price_of_the_budget_or_the_one_given() -> None:
    priced = dataclasses.replace(confirmed(grid(), 0.7), price=Price(36.0, "EUR"))
    (row,) = compared(priced).rows
    assert row.money == pytest.approx((100.0 + 5.0) / 3600 * 36)
    assert compare(ExperimentOutcome("e", "d", (priced,)), price=Price(72.0, "EUR")).rows[0].money == pytest.approx(2.1)
    assert compared(grid()).rows[0].money is None


def many(strategy: str, *tests: float, rows: int = 1000) -> list[StudyOutcome]:
    return [
        dataclasses.replace(grid(0.8 + 0.001 * s, test, rows, seed=s), strategy=strategy, kind=strategy)
        for s, test in enumerate(tests)
    ]


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


def test_no_difference_over_seeds_says_what_could_have_been_told() -> None:
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


def test_equal_ranks_share_their_mean() -> None:
    ranks = compared(*many("a", 0.8, 0.7), *many("b", 0.8, 0.9)).ranks
    assert [(rank.strategy, rank.ranks) for rank in ranks] == [("b", (1.5, 1.0)), ("a", (1.5, 2.0))]


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
