"""The costs of a trial lie between those of the lightest and of the heaviest configuration."""

from __future__ import annotations

import json

import pytest

from tests.support.paces import GB, costs, pace
from tests.support.specs import curve_fields
from tuning.estimate.costs import TrainingCosts as Costs
from tuning.estimate.costs import TrialSeconds, mean_pace
from tuning.estimate.extremes import extremes
from tuning.spec.loading import load_spec

pytestmark = pytest.mark.unit

BATCH, LENGTH = "per_device_train_batch_size", "data.max_length"


def test_the_seconds_of_an_epoch_are_linear_in_the_number_of_its_steps() -> None:
    between = costs(30.0, pace({BATCH: 32}, 24.0))
    assert between.of({BATCH: 16}).epoch == 30.0
    assert between.of({BATCH: 32}).epoch == 24.0
    assert between.of({BATCH: 24}).epoch == pytest.approx(26.0)  # 1/24 lies at two thirds of the way from 1/16 to 1/32
    assert between.of({BATCH: 64}).epoch == 24.0  # beyond what was measured nothing is known


def test_a_trial_of_which_no_size_is_known_lies_in_the_middle() -> None:
    assert costs(30.0, pace({BATCH: 32}, 24.0)).of({"learning_rate": 1e-3}).epoch == 27.0


def test_sizes_that_differ_together_are_the_mean_of_their_places_and_less_certain() -> None:
    light, heavy = pace({BATCH: 16, LENGTH: 64}, 10.0), pace({BATCH: 32, LENGTH: 128}, 30.0)
    both = Costs(light, heavy, "a test", 2, 0.0, 0.0, 0.0)
    assert both.of({BATCH: 16, LENGTH: 128}).epoch == 20.0
    assert both.uncertainty == pytest.approx(0.1 + 0.25)
    assert costs(30.0, pace({BATCH: 32}, 24.0)).uncertainty == pytest.approx(0.1)


def test_texts_and_switches_are_one_end_or_the_other() -> None:
    light, heavy = pace({"optim": "sgd"}, 10.0), pace({"optim": "adamw_torch"}, 30.0)
    both = Costs(light, heavy, "a test", 2, 0.0, 0.0, 0.0)
    assert [both.of({"optim": name}).epoch for name in ("sgd", "adafactor", "adamw_torch")] == [10.0, 20.0, 30.0]


def test_all_parts_of_a_trial_scale_alike() -> None:
    assert costs(30.0).of({}).scaled(2.0) == TrialSeconds(10.0, 60.0, 20.0, 0.0)


def test_memory_that_processes_share_counts_once() -> None:
    assert costs().memory(1) == 2 * GB
    assert costs().memory(4) == 2 * GB + 3 * (2 * GB - GB // 2)


def test_optimizer_steps_count_batches_and_accumulation() -> None:
    assert costs().steps({}, 2.0) == 150  # 1,200 rows in batches of 16
    assert costs().steps({BATCH: 32}, 1.0) == 38
    assert costs().steps({BATCH: 32, "gradient_accumulation_steps": 2}, 1.0) == 19
    assert Costs(*[pace({}, 1.0)] * 2, "a test", 2, 0.0, 0.0, 0.0).steps({}, 1.0) is None


def test_costs_survive_as_json() -> None:
    one = costs(30.0, pace({BATCH: 32}, 24.0))
    assert Costs.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_paces_of_several_processes_are_one_whose_spread_they_show() -> None:
    mean = mean_pace([pace({}, 90.0, memory=GB), pace({}, 110.0)])
    assert mean.epoch == 100.0
    assert mean.memory == 2 * GB
    assert mean.spread == pytest.approx(0.1)  # 14.1 over the square root of 2


def test_the_ends_of_a_space_are_those_of_all_strategies() -> None:
    space = {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        BATCH: {"choice": [32, 8, 16]},
        "weight_decay": {"uniform": [0, 0.1]},
    }
    grid = {"kind": "grid", "space": {BATCH: {"choice": [64, 128]}, "learning_rate": 1e-4}}
    spec = load_spec(curve_fields("runs", space=space, strategies=[{"kind": "random", "trials": 2}, grid]))
    lightest, heaviest = extremes(spec)
    assert (lightest[BATCH], heaviest[BATCH]) == (8, 128)
    assert {name for name in lightest if lightest[name] != heaviest[name]} == {BATCH}


def test_without_sizes_to_search_all_trials_are_alike() -> None:
    lightest, heaviest = extremes(load_spec(curve_fields("runs")))
    assert lightest == heaviest
    assert lightest[BATCH] == 16  # the default, from which steps are counted
