"""Anytime curves, their band over seeds and the cost to reach a target, on hand-made outcomes with known answers."""

from __future__ import annotations

import dataclasses

import pytest

from tests.support.outcomes import report, study, trial
from tuning.comparison.anytime import GRID, band, curve_of, reach_of
from tuning.comparison.shapes import Curve, Step

pytestmark = pytest.mark.unit


def test_a_curve_has_a_step_per_better_report_at_what_the_whole_study_had_cost_by_then() -> None:
    """100 s on 2 slots of half a device: one device-second each. The last report came at the end."""
    first = trial(0, [report(1, 0.5, time=1010), report(2, 0.4, time=1030)])
    second = trial(1, [report(1, 0.7, time=1020)])
    assert curve_of(study("grid", [first, second])) == Curve(0, (Step(80.0, 0.5), Step(90.0, 0.7)), 100.0)
    assert curve_of(study("grid", [])) == Curve(0, (), 100.0)


def test_slots_that_came_later_make_every_second_cost_the_average() -> None:
    late = dataclasses.replace(study("grid", [trial(0, [report(1, 0.5, time=50)])]), slot_seconds=300.0)
    assert curve_of(late).end == 150.0
    assert curve_of(late).steps == (Step(150.0, 0.5),)


def test_the_time_of_an_interruption_is_no_cost() -> None:
    """An hour between the second and the third report, of which the study held its slots for 100 s in all. An older
    version has recorded it. The first report took two seconds itself."""
    times = (1000, 1040, 4640, 4650)
    reports = [report(i + 1, 0.1 * i, time=time) for i, time in enumerate(times)]
    steps = curve_of(study("grid", [trial(0, reports)])).steps
    assert [step.cost for step in steps] == [2.0, 42.0, 90.0, 100.0]


def test_a_report_costs_what_the_study_had_cost_when_it_was_recorded() -> None:
    """Whatever its clock says, and however long an interruption was."""
    first = dataclasses.replace(trial(0, [report(1, 0.5, time=10), report(2, 0.8, time=9000)]), costs=(9.0, 60.0))
    second = dataclasses.replace(trial(1, [report(1, 0.7, time=5)]), costs=(45.0,))
    steps = curve_of(study("grid", [first, second])).steps
    assert steps == (Step(9.0, 0.5), Step(45.0, 0.7), Step(60.0, 0.8))


def test_what_an_older_version_recorded_came_before_what_this_one_did() -> None:
    """A study that was begun by that one: its first report at 10 s of 100, one a second and no device-second more."""
    reports = [report(1, 0.5, time=10), report(2, 0.6, time=40), report(3, 0.7, time=7000)]
    mixed = dataclasses.replace(trial(0, reports), costs=(None, None, 80.0))
    assert [step.cost for step in curve_of(study("grid", [mixed])).steps] == [49.0, 79.0, 80.0]


def test_a_lower_score_is_the_better_one_when_the_mode_is_min() -> None:
    falling = dataclasses.replace(
        study("grid", [trial(0, [report(1, 0.5, time=10), report(2, 0.3, time=20), report(3, 0.4, time=30)])]),
        mode="min",
    )
    assert [step.score for step in curve_of(falling).steps] == [0.5, 0.3]


def test_the_band_is_median_and_quartiles_over_seeds_without_interpolation() -> None:
    ends = (10.0, 20.0, 40.0)
    curves = [
        Curve(seed, (Step(cost, 0.1 * (seed + 1)),), end)
        for seed, (cost, end) in enumerate(zip(ends, ends, strict=True))
    ]
    found = band("grid", curves, "max", 40.0)
    assert len(found.cost) == len(found.median) == GRID
    at = dict(zip(found.cost, zip(found.low, found.median, found.high, strict=True), strict=True))
    assert at[0.0] == (None, None, None)
    assert at[10.0] == (None, None, 0.1)  # of three seeds two have no score yet
    assert at[20.0] == (None, 0.1, 0.2)
    assert at[40.0] == (0.1, 0.2, 0.1 * 3)  # the studies that ended before keep their best
    assert found.median[-1] == 0.2


def test_the_band_of_a_loss_has_the_worse_quartile_first() -> None:
    curves = [Curve(seed, (Step(0.0, loss),), 1.0) for seed, loss in enumerate((0.2, 0.3, 0.4))]
    found = band("grid", curves, "min", 1.0)
    assert (found.low[-1], found.median[-1], found.high[-1]) == (0.4, 0.3, 0.2)


def test_the_cost_to_a_target_is_censored_where_it_is_not_reached() -> None:
    reached = Curve(0, (Step(5.0, 0.5), Step(9.0, 0.8)), 20.0)
    missed = Curve(1, (Step(1.0, 0.6),), 30.0)
    both = reach_of([reached, reached, missed], "max", 0.7)
    assert (both.costs, both.reached, both.median, both.at_least) == ((9.0, 9.0, None), 2, 9.0, None)
    most = reach_of([reached, missed, missed], "max", 0.7)
    assert (most.reached, most.median, most.at_least) == (1, None, 30.0)
    assert reach_of([reached], "max", 0.8).median == 9.0  # as good as the target is enough
