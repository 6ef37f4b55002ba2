"""An estimate finds the costs that earlier runs and estimates of the same training have shown, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.paces import costs, pace
from tests.support.specs import curve_fields
from trainables.data.cache_folder import cache_folder
from trainables.errors import InputError
from tuning.estimate.estimate import estimate_experiment
from tuning.estimate.expectation import expectation
from tuning.estimate.known import costs_of, known_costs, recorded_costs, save_estimate, saved_estimate
from tuning.estimate.simulation import simulate
from tuning.estimate.types import Expected, ExperimentEstimate, SlotsEstimate
from tuning.experiment import run_experiment
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import SimulatedNode, simulated_ray

BATCH = "per_device_train_batch_size"
SPACE = {"learning_rate": {"loguniform": [1e-5, 1e-3]}, BATCH: {"choice": [16, 32]}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))


def reviews(folder: Path, **changed: Any) -> ExperimentSpec:
    fields = {
        "trainable": "finetune", "epochs": 2, "space": SPACE, "cluster": {"gpus_per_trial": 0}, "test": False,
        "strategies": [{"kind": "random", "trials": 8}],
    }  # fmt: skip
    return load_spec(curve_fields(folder, **{**fields, **changed}))


def estimate_of(spec: ExperimentSpec, slots: int = 2) -> ExperimentEstimate:
    """Returns an estimate that somebody has made."""
    number = Expected(1.0, 2.0, 3.0)
    column = SlotsEstimate(slots, True, number, None, number, None, number.scaled(3600), number.scaled(600))
    return ExperimentEstimate(spec.name, 1, 1, "CPU core", "measured", (column,))


@pytest.mark.tune
def test_the_reports_of_a_run_show_what_its_trials_took(tmp_path: Path) -> None:
    taken = costs(90.0, pace({BATCH: 32}, 60.0))
    spec = reviews(tmp_path)
    outcome = simulate(spec, taken, 2, 1.0).outcome
    found = costs_of(outcome, spec)
    assert found is not None
    # No rows are recorded there, so an epoch has its evaluation of 10 s in it.
    assert found.of({BATCH: 32}).epoch == pytest.approx(70.0, abs=0.5)
    assert found.of({BATCH: 16}).epoch == pytest.approx(100.0, abs=0.5)
    assert found.of({BATCH: 16}).build == pytest.approx(5.0, abs=0.5)


@pytest.mark.tune
def test_a_run_below_the_same_storage_is_found_if_it_trained_the_same(tmp_path: Path) -> None:
    fixed = {"model.seconds_per_epoch": 60.0}
    before = load_spec(curve_fields(tmp_path, name="before", fixed=fixed, test=False, cluster={"gpus_per_trial": 0}))
    with simulated_ray(SimulatedNode()):
        run_experiment(before, progress=False)
    again = before.model_copy(update={"name": "again", "seeds": (5,), "epochs": 9.0})
    found = recorded_costs(again)
    assert found is not None
    assert found.source == "the run before, 2 at a time"
    assert found.of({}).epoch == pytest.approx(60.0, abs=1.0)
    assert recorded_costs(again.model_copy(update={"report_every_epochs": 0.5})) is None
    assert recorded_costs(again.model_copy(update={"model": "another"})) is None


@pytest.mark.unit
def test_an_estimate_is_found_for_its_experiment_and_its_costs_for_the_same_training(tmp_path: Path) -> None:
    spec = reviews(tmp_path)
    assert saved_estimate(spec) is None
    assert known_costs(spec) is None
    save_estimate(spec, estimate_of(spec), costs())
    saved = saved_estimate(spec)
    assert saved is not None
    assert (saved.estimate, saved.costs) == (estimate_of(spec), costs())
    longer = reviews(tmp_path, epochs=3, name="longer")
    assert saved_estimate(longer) is None
    assert known_costs(longer) == costs()
    assert known_costs(reviews(tmp_path, data={"max_length": 32})) is None
    assert known_costs(reviews(tmp_path, cluster={"gpus_per_trial": 0, "cpus_per_trial": 2})) is None


@pytest.mark.unit
def test_an_estimate_that_was_damaged_is_not_known(tmp_path: Path) -> None:
    spec = reviews(tmp_path)
    save_estimate(spec, estimate_of(spec), costs())
    (file,) = (cache_folder() / "estimates").iterdir()
    whole = json.loads(file.read_text())
    for damaged in ("{", json.dumps({**whole, "costs": {}}), json.dumps({**whole, "estimate": {"schema_version": 0}})):
        file.write_text(damaged)
        assert saved_estimate(spec) is None


@pytest.mark.unit
def test_a_run_begins_with_what_the_estimate_said_or_with_bounds_or_with_what_to_do(tmp_path: Path) -> None:
    spec = reviews(tmp_path, cluster={"gpus_per_trial": 0, "max_concurrent": 1})
    assert expectation(spec) == (
        "how long it takes is not known: the time left is shown from the first report on; before a run "
        "`tunefleet estimate` measures it"
    )
    save_estimate(spec, estimate_of(spec, slots=1), costs())
    told = "expected: 20 min (10 min to 30 min) with 1 trial at a time, 2 (1 to 3) CPU core-hours (by the estimate)"
    assert expectation(spec) == told
    longer = reviews(tmp_path, cluster={"gpus_per_trial": 0, "max_concurrent": 1}, epochs=3)
    # Eight trials of 5 + 3 * 110 s, one after the other, and 13 s besides; a tenth more or less.
    assert expectation(longer) == (
        "expected: 45 min (40 min to 49 min) with 1 trial at a time, 0.74 (0.67 to 0.82) CPU core-hours (by a test)"
    )


@pytest.mark.unit
def test_without_a_calibration_nothing_known_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is known of this training: no earlier run in .*leave it out"):
        estimate_experiment(reviews(tmp_path), calibrate=False)
    with pytest.raises(InputError, match=r"slots: 0: must be a whole number above 0"):
        estimate_experiment(reviews(tmp_path), slots=[0], calibrate=False)
