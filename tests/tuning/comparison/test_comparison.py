"""The rows and the caveats of a comparison, of studies with known scores."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.compared import compared, grid, many, pbt, with_budget
from tests.support.outcomes import make_report, population, scored, study, trial
from tuning.budget import Price
from tuning.comparison import compare
from tuning.comparison.tables import comparison_tables
from tuning.outcome import Confirmation, ExperimentOutcome, Stretch, StudyOutcome, StudyState, TrialState

pytestmark = pytest.mark.unit


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


def test_where_nothing_has_a_score_only_what_failed_is_reported() -> None:
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


def test_a_test_score_of_another_trial_than_the_best_is_reported() -> None:
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


def test_strategies_that_began_elsewhere_are_reported_and_those_that_began_alike_are_not() -> None:
    same, elsewhere = dataclasses.replace(grid(), strategy="other"), grid()
    start = dataclasses.replace(elsewhere.trials[0], params={"learning_rate": 0.5})
    elsewhere = dataclasses.replace(elsewhere, strategy="third", trials=(start, *elsewhere.trials[1:]))
    caveats = compared(grid(), same, pbt()).caveats
    assert "Unequal initial points: grid and other began with other values than pbt." in caveats
    caveats = compared(grid(), same, pbt(), elsewhere).caveats
    assert "Unequal initial points, the same only within each of: grid and other; pbt; third." in caveats
    assert not any("initial points" in caveat for caveat in compared(grid(), same).caveats)


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


def test_caveats_of_many_studies_are_reported_by_strategy() -> None:
    grids = [with_budget(grid(seed=seed), 100.0 + 4 * seed, reached=True) for seed in range(4)]
    pbts = [with_budget(pbt(seed=seed), 108.0, reached=seed < 2) for seed in range(4)]
    caveats = "\n".join(compared(*grids, *pbts).caveats)
    assert "Ended by the budget, with the best so far: grid (all 4 seeds) and pbt seeds 0 and 1." in caveats
    assert "had stopped: grid seeds 2 and 3 by 8 to 12% and pbt (all 4 seeds) by 8%." in caveats
    everyone = compared(*grids, *(with_budget(pbt(seed=seed), 100.0, reached=True) for seed in range(4)))
    assert "Ended by the budget, with the best so far: every study." in everyone.caveats


def test_unequal_spaces_are_reported_by_the_spec() -> None:
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


def test_costs_are_shown_in_money_at_the_price_of_the_budget_or_the_one_given() -> None:
    priced = dataclasses.replace(confirmed(grid(), 0.7), price=Price(36.0, "EUR"))
    (row,) = compared(priced).rows
    assert row.money == pytest.approx((100.0 + 5.0) / 3600 * 36)
    assert compare(ExperimentOutcome("e", "d", (priced,)), price=Price(72.0, "EUR")).rows[0].money == pytest.approx(2.1)
    assert compared(grid()).rows[0].money is None


def test_equal_ranks_share_their_mean() -> None:
    ranks = compared(*many("a", 0.8, 0.7), *many("b", 0.8, 0.9)).ranks
    assert [(rank.strategy, rank.ranks) for rank in ranks] == [("b", (1.5, 1.0)), ("a", (1.5, 2.0))]
