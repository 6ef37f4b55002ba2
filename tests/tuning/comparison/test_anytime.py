"""Tests anytime curves, their band and the cost to reach a target on hand-made outcomes with known answers."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.outcomes import make_report, study, trial
from tuning.comparison.anytime import GRID, anytime_curves, best_score, best_so_far_curve, target_cost
from tuning.comparison.types import Curve, CurvePoint
from tuning.outcome import Confirmation, Stretch

pytestmark = pytest.mark.unit


def test_a_curve_has_a_step_per_better_report_at_what_the_whole_study_had_cost_by_then() -> None:
    """The study takes 100 s on 2 slots of half a device, so a second costs a device-second; its last report ends it."""
    first = trial(0, [make_report(1, 0.5, time=1010), make_report(2, 0.4, time=1030)])
    second = trial(1, [make_report(1, 0.7, time=1020)])
    assert best_so_far_curve(study("grid", [first, second])) == Curve(
        0, (CurvePoint(80.0, 0.5), CurvePoint(90.0, 0.7)), 100.0
    )
    assert best_so_far_curve(study("grid", [])) == Curve(0, (), 100.0)


def test_slots_that_came_later_make_every_second_cost_the_average() -> None:
    late = dataclasses.replace(study("grid", [trial(0, [make_report(1, 0.5, time=50)])]), slot_seconds=300.0)
    assert best_so_far_curve(late).end == 150.0
    assert best_so_far_curve(late).steps == (CurvePoint(150.0, 0.5),)


def test_the_time_of_an_interruption_is_no_cost() -> None:
    """An hour lies between the second and the third report, and the study held its slots for 100 s in all.

    An older version has recorded it. The first report took two seconds itself.
    """
    times = (1000, 1040, 4640, 4650)
    reports = [make_report(i + 1, 0.1 * i, time=time) for i, time in enumerate(times)]
    steps = best_so_far_curve(study("grid", [trial(0, reports)])).steps
    assert [step.cost for step in steps] == [2.0, 42.0, 90.0, 100.0]


def test_a_report_costs_what_the_study_had_cost_when_it_was_recorded() -> None:
    """The recorded cost counts, whatever the clock of a report and the length of an interruption."""
    first = dataclasses.replace(
        trial(0, [make_report(1, 0.5, time=10), make_report(2, 0.8, time=9000)]), costs=(9.0, 60.0)
    )
    second = dataclasses.replace(trial(1, [make_report(1, 0.7, time=5)]), costs=(45.0,))
    steps = best_so_far_curve(study("grid", [first, second])).steps
    assert steps == (CurvePoint(9.0, 0.5), CurvePoint(45.0, 0.7), CurvePoint(60.0, 0.8))


def test_what_an_older_version_recorded_came_before_what_this_one_did() -> None:
    """An older version began the study: its first report at 10 s of 100 has no recorded cost."""
    reports = [make_report(1, 0.5, time=10), make_report(2, 0.6, time=40), make_report(3, 0.7, time=7000)]
    mixed = dataclasses.replace(trial(0, reports), costs=(None, None, 80.0))
    assert [step.cost for step in best_so_far_curve(study("grid", [mixed])).steps] == [49.0, 79.0, 80.0]


def test_a_lower_score_is_the_better_one_when_the_mode_is_min() -> None:
    falling = dataclasses.replace(
        study(
            "grid",
            [trial(0, [make_report(1, 0.5, time=10), make_report(2, 0.3, time=20), make_report(3, 0.4, time=30)])],
        ),
        mode="min",
    )
    assert [step.score for step in best_so_far_curve(falling).steps] == [0.5, 0.3]


def test_the_mean_begins_where_every_seed_has_a_score_and_studies_that_ended_keep_their_best() -> None:
    curves = [
        Curve(seed, (CurvePoint(cost, 0.1 * (seed + 1)),), end)
        for seed, (cost, end) in enumerate(((10.0, 10.0), (20.0, 20.0), (40.0, 50.0)))
    ]
    found = anytime_curves("grid", curves, "max", 100.0, best=0.3)
    assert len(found.cost) == len(found.mean) == len(found.regret) == GRID
    at = dict(zip(found.cost, zip(found.mean, found.regret, strict=True), strict=True))
    assert at[39.5] == (None, None)  # of three seeds one has no score yet
    assert at[40.0] == at[100.0] == (pytest.approx(0.2), pytest.approx(0.1))
    assert found.low[79] is None
    low, high = found.low[80], found.high[80]
    assert low is not None
    assert high is not None
    assert low < 0.2 < high


def test_a_band_takes_three_seeds_that_differ() -> None:
    curves = [Curve(seed, (CurvePoint(0.0, 0.5 + seed / 10),), 1.0) for seed in range(3)]
    for few in (curves[:1], curves[:2], [curves[0]] * 3):
        found = anytime_curves("grid", few, "max", 1.0)
        assert found.mean[-1] is not None
        assert set(found.low) == set(found.high) == {None}


def test_the_band_of_a_loss_has_the_worse_end_first_and_no_score_beyond_those_that_there_can_be() -> None:
    curves = [Curve(seed, (CurvePoint(0.0, loss),), 1.0) for seed, loss in enumerate((0.2, 0.3, 0.4))]
    found = anytime_curves("grid", curves, "min", 1.0, within=(0.0, 1.0), best=0.2)
    low, mean, high, regret = found.low[-1], found.mean[-1], found.high[-1], found.regret[-1]
    assert (mean, high, regret) == (pytest.approx(0.3), 0.0, pytest.approx(0.1))
    assert low is not None
    assert 0.3 < low <= 1.0


def test_the_best_score_of_an_experiment_is_what_regret_is_measured_against() -> None:
    curves = [
        Curve(0, (CurvePoint(0.0, 0.5), CurvePoint(3.0, 0.8)), 5.0),
        Curve(1, (CurvePoint(2.0, 0.7),), 5.0),
        Curve(2, (), 5.0),
    ]
    assert best_score(curves, "max") == 0.8
    assert best_score(curves[1:], "min") == 0.7
    assert best_score(curves[2:], "max") is None


def test_a_curve_knows_what_was_confirmed_for_what_cost_and_what_the_test_said() -> None:
    searched = study("grid", [trial(0, [make_report(1, 0.8, time=10)])])
    schedule = (Stretch(0.0, 1.0, {"learning_rate": 0.1}),)
    trainings = tuple(
        Confirmation(
            *(1, "t0", 1.0, schedule, 0.8, seed, 7.0, 0.0),
            validation={"accuracy": 0.7 + seed / 10},
            test={"accuracy": 0.6 + seed / 10},
        )
        for seed in range(2)
    )
    curve = best_so_far_curve(dataclasses.replace(searched, confirmations=trainings))
    assert (curve.confirming, curve.confirmed, curve.test) == (14.0, pytest.approx(0.75), pytest.approx(0.65))
    assert curve.end == 100.0


def test_what_an_interruption_made_the_study_compute_again_is_cost_and_the_time_before_it_went_on_is_not() -> None:
    """Reports come a minute apart; the driver dies 30 s into the third epoch and is resumed the next day."""
    reports = [make_report(i, 0.5 + i / 10, time=time) for i, time in ((1, 60), (2, 120), (3, 120 + 30 + 86_400 + 60))]
    costs = (60.0, 120.0, 210.0)  # as recorded: with the 30 s that were lost
    killed = dataclasses.replace(trial(0, reports), costs=costs)
    assert [step.cost for step in best_so_far_curve(study("grid", [killed], wall=210.0)).steps] == [60.0, 120.0, 210.0]


def test_the_cost_to_a_target_is_censored_where_it_is_not_reached() -> None:
    reached = Curve(0, (CurvePoint(5.0, 0.5), CurvePoint(9.0, 0.8)), 20.0)
    missed = Curve(1, (CurvePoint(1.0, 0.6),), 30.0)
    both = target_cost([reached, reached, missed], "max", 0.7)
    assert (both.costs, both.reached, both.median, both.at_least) == ((9.0, 9.0, None), 2, 9.0, None)
    most = target_cost([reached, missed, missed], "max", 0.7)
    assert (most.reached, most.median, most.at_least) == (1, None, 30.0)
    assert target_cost([reached], "max", 0.8).median == 9.0  # as good as the target is enough
