"""Comparisons of hand-made outcomes with known answers."""

from __future__ import annotations

import dataclasses

import pytest
from outcomes import population, report, scored, study, trial

from tuning.comparison import compare
from tuning.comparison.scores import wilson
from tuning.outcome import ExperimentOutcome, Stretch, StudyOutcome, StudyState, TrialState


def compared(*studies: StudyOutcome):
    return compare(ExperimentOutcome("e", "d", studies))


def grid(accuracy: float = 0.8, test: float | None = 0.78, rows: int = 1000, **others) -> StudyOutcome:
    trials = [trial(0, [report(1, accuracy - 0.1), report(2, accuracy)]), trial(1, [report(1, 0.3), report(2, 0.4)])]
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
        dataclasses.replace(study(name, [trial(0, [report(1, loss)])]), mode="min")
        for name, loss in (("low", 0.2), ("high", 0.4))
    )
    assert compared(high, low).best == compared(low).rows[0]


def test_wilsons_interval_matches_published_values() -> None:
    low, high, _ = wilson(81 / 263, 263)  # Newcombe (1998), table I: 0.2553 to 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert wilson(0.0, 20)[:2] == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.1611, abs=5e-5))


def test_overlapping_intervals_show_no_difference() -> None:
    verdict = compared(grid(), pbt()).verdict
    assert verdict.startswith("No difference shown: test accuracy of the two best, pbt 0.790")
    assert "differ by 0.010" in verdict


def test_intervals_apart_name_the_better_strategy_and_what_that_covers() -> None:
    verdict = compared(grid(test=0.70, rows=5000), pbt(test=0.80, rows=5000)).verdict
    assert verdict.startswith("pbt did better than grid on test")
    assert "not another seed" in verdict


def test_the_same_difference_on_few_rows_is_none() -> None:
    assert compared(grid(test=0.70, rows=50), pbt(test=0.80, rows=50)).verdict.startswith("No difference shown")


def test_without_a_test_score_there_is_no_verdict() -> None:
    comparison = compared(grid(test=None), pbt())
    assert comparison.verdict.startswith("No verdict: grid has no test score")
    assert "Not every seed has a test score: grid." in comparison.caveats


def test_one_strategy_alone_has_no_verdict() -> None:
    assert compared(grid()).verdict.startswith("No verdict: fewer than two strategies")


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
    assert "best of many looks" in caveats
    assert "grid 4, pbt 7" in caveats


def test_sound_data_leave_only_the_caveat_of_the_validation_score() -> None:
    caveats = compared(grid(seed=0), grid(seed=1), pbt(seed=0), pbt(seed=1)).caveats
    assert len(caveats) == 1
    assert "Validation scores" in caveats[0]


def test_a_test_score_of_another_trial_than_the_best_is_told() -> None:
    other = dataclasses.replace(grid(), test=scored("t1", 2, 0.5))
    assert any("the test score is of trial t1" in caveat for caveat in compared(other).caveats)


def test_a_study_without_a_report_has_a_row_without_scores() -> None:
    (row,) = compared(study("grid", [])).rows
    assert (row.best, row.median_validation, row.epochs) == (None, None, 0)


def test_an_experiment_without_a_study_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no study"):
        compared()


def test_the_curve_is_the_best_so_far_over_the_summed_cost_in_order_of_time() -> None:
    first = trial(0, [report(1, 0.5, time=10, seconds=2), report(2, 0.4, time=30, seconds=2)])
    second = trial(1, [report(1, 0.7, time=20, seconds=3)])
    assert curve(study("grid", [first, second])) == [(2.0, 0.5), (5.0, 0.7), (7.0, 0.7)]
    assert curve(study("grid", [])) == []


def test_a_test_score_over_no_rows_has_no_interval() -> None:
    """As of a trainable in closed form, or one of the user's own."""
    grid = study("grid", [trial(0, [report(1, 0.7)])], test=scored("t0", 1, 0.7, rows=0))
    comparison = compare(ExperimentOutcome("e", "d", (grid,)))
    assert comparison.rows[0].best is not None
    assert (comparison.rows[0].best.test, comparison.rows[0].best.interval) == (0.7, None)
