"""Bounds of what an experiment takes, with known answers; they hold what a simulation finds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.paces import costs
from tests.support.specs import curve_fields
from tuning.estimate.arithmetic import LEAST_DRIVER, bounds, most_reports
from tuning.estimate.types import Expected
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit

BESIDES = 6 + 2 + 3 + LEAST_DRIVER  # Ray, data, processes, the driver


def experiment(**changed: Any) -> ExperimentSpec:
    return load_spec(curve_fields("runs", **{"epochs": 2, "test": False, **changed}))


def test_a_study_takes_its_work_over_its_slots_and_one_more_trial_at_most() -> None:
    column = bounds(experiment(strategies=[{"kind": "random", "trials": 4}]), costs(), 2, 1.0)
    assert column.trials == Expected(4, 4, 4)
    assert column.epochs == Expected(8, 8, 8)
    assert column.stopped == Expected(0, 0, 0)
    assert column.steps == Expected(600, 600, 600)
    # Four trials of 5 + 2 * 110 s on two slots; a tenth less, or a tenth more with another trial.
    assert column.wall_seconds is not None
    assert column.wall_seconds.low == pytest.approx(450 * 0.9 + BESIDES)
    assert column.wall_seconds.high == pytest.approx((450 + 220) * 1.1 + BESIDES)
    assert column.device_seconds is not None
    assert column.device_seconds.low == pytest.approx(2 * 450 * 0.9)


def test_trials_that_may_be_stopped_train_to_their_first_report_at_least() -> None:
    asha = [{"kind": "random_asha", "trials": 10}]
    column = bounds(experiment(epochs=4, strategies=asha, seeds=[0, 1]), costs(), 2, 1.0)
    assert column.trials == Expected(20, 20, 20)
    assert column.epochs == Expected(20, 50, 80)
    assert column.stopped is None


def test_a_budget_of_time_is_what_a_study_takes_at_most() -> None:
    endless = [{"kind": "random", "trials": None}]
    column = bounds(experiment(strategies=endless, budget={"device_seconds": 1000}), costs(), 4, 1.0)
    assert column.wall_seconds is not None
    assert column.wall_seconds.high == pytest.approx(250 + BESIDES)
    assert column.device_seconds is not None
    assert column.device_seconds.high == pytest.approx(1000)
    assert column.epochs is not None
    assert column.epochs.high == pytest.approx(1000 / 110)
    longer = bounds(experiment(strategies=endless, budget={"wall_seconds": 1000}), costs(), 4, 1.0)
    assert longer.device_seconds is not None
    assert longer.device_seconds.high == pytest.approx(4000)


def test_without_costs_the_trials_are_known_and_no_time_is() -> None:
    column = bounds(experiment(strategies=[{"kind": "random", "trials": 4}]), None, 2, 1.0)
    assert (column.trials, column.epochs) == (Expected(4, 4, 4), Expected(8, 8, 8))
    assert (column.wall_seconds, column.device_seconds, column.steps) == (None, None, None)
    endless = experiment(strategies=[{"kind": "random", "trials": None}], budget={"wall_seconds": 9})
    assert bounds(endless, None, 2, 1.0).trials is None
    assert most_reports(endless, bounds(endless, None, 2, 1.0)) == float("inf")


def test_what_holds_one_slot_is_charged_for_one() -> None:
    column = bounds(experiment(strategies=[{"kind": "defaults"}]), costs(), 8, 1.0)
    assert column.device_seconds is not None
    assert column.device_seconds.likely == pytest.approx(225, rel=0.01)


def test_confirmations_count_as_work_and_as_reports() -> None:
    plain = experiment(strategies=[{"kind": "random", "trials": 4}], seeds=[0, 1, 2])
    confirmed = experiment(
        strategies=[{"kind": "random", "trials": 4}], seeds=[0, 1, 2], confirm={"top": 2, "seeds": 5}
    )
    before, after = (bounds(spec, costs(), 2, 1.0) for spec in (plain, confirmed))
    assert before.device_seconds is not None
    assert after.device_seconds is not None
    assert after.device_seconds.likely - before.device_seconds.likely == pytest.approx(3 * 2 * 5 * 225)
    assert most_reports(confirmed, after) - most_reports(plain, before) == 30
