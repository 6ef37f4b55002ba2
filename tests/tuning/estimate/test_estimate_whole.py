"""An estimate with real processes: a calibration on the shared Ray, then the experiment in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import USER_TRAINER, curve_experiment, places_fields, user_trainer_fields
from tuning import load_spec, run_experiment
from tuning.estimate import calibration
from tuning.estimate.estimate import estimate_experiment
from tuning.estimate.expectation import expectation
from tuning.estimate.known import saved_estimate

pytestmark = pytest.mark.ray

STRATEGIES = [{"kind": "random", "trials": 3}, {"kind": "pbt", "population": 2}]
BATCHES = {"learning_rate": {"loguniform": [1e-4, 1e-3]}, "per_device_train_batch_size": {"choice": [8, 16]}}


@pytest.fixture(autouse=True)
def _short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "SECONDS", 0.5)


def test_a_fine_tuning_is_estimated_and_then_takes_about_that(
    ray_session: None, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    fields = places_fields(tmp_path / "runs", tiny_data, tiny_model, strategies=STRATEGIES, space=BATCHES)
    spec, lines = load_spec(fields), list[str]()
    estimate = estimate_experiment(spec, slots=[2, 8], say=lines.append)
    here, wide = estimate.columns
    assert any("measuring the lightest and the heaviest trial, 2 at a time" in line for line in lines)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())  # nothing is recorded
    assert here.trials == (5, 5, 5)
    assert here.epochs is not None
    assert here.epochs.likely == pytest.approx(10)
    assert here.steps is not None
    assert 3 * 10 <= here.steps.likely <= 6 * 10  # 48 rows in batches of 16 or 8
    assert here.wall_seconds is not None
    assert wide.wall_seconds is not None
    assert wide.wall_seconds.likely <= here.wall_seconds.likely
    assert estimate.trial_memory
    assert here.memory is not None
    assert estimate.trial_memory < here.memory < 2 * estimate.trial_memory
    saved = saved_estimate(spec)
    assert saved is not None
    assert saved.estimate == estimate

    # The truth is noisy where trials take seconds, so this only finds what is wrong by far.
    outcome = run_experiment(spec, progress=False)
    taken = sum(study.device_seconds for study in outcome.studies)
    assert here.device_seconds is not None
    assert here.device_seconds.likely / 4 < taken < here.device_seconds.likely * 4


def test_a_trainer_of_ones_own_is_estimated_as_far_as_a_piece_of_it_shows(ray_session: None, tmp_path: Path) -> None:
    spec = load_spec(user_trainer_fields(tmp_path, strategies=STRATEGIES, epochs=2, test=False))
    estimate = estimate_experiment(spec)
    assert estimate.columns[0].device_seconds is not None
    assert estimate.columns[0].disk is None
    assert any("the size of your own model's checkpoints is not known" in reason for reason in estimate.ranges)
    assert spec.trainable == USER_TRAINER


def test_of_a_function_the_trials_are_known_and_no_seconds(ray_session: None, tmp_path: Path) -> None:
    spec = curve_experiment(
        tmp_path, trainable="tests.support.own_trainables:train", objective={"metric": "accuracy", "mode": "max"}
    )
    estimate = estimate_experiment(spec)
    (column,) = estimate.columns
    assert column.trials == (13, 13, 13)
    assert (column.wall_seconds, column.device_seconds) == (None, None)
    assert any("reports by itself, so no piece of it can be measured" in reason for reason in estimate.ranges)
    assert "is not known" in expectation(spec)
