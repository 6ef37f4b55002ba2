"""The disk of the storage fills up in the middle of a run: told at once, nothing lost but the last moments."""

from __future__ import annotations

import contextlib
import errno
import logging
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.exceptions import RayTaskError
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager

from tests.support import disks
from tests.support.drivers import Drivers
from tests.support.stopped_runs import SECONDS, outcomes, study_of
from tuning import load_spec, run_experiment
from tuning.outcome import StudyState, TrialState
from tuning.run.full_disk import full_disk
from tuning.run.tune_settings import tune_settings

SIZE = 4 << 20  # bytes of the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(disks.small_disk(disk, SIZE))
        except disks.NoDisk as problem:
            pytest.skip(f"no file system can be mounted here: {problem}")
        yield disk


def spec_of(folder: Path, trainable: str, seconds_per_epoch: float) -> dict[str, Any]:
    return {
        "name": "full",
        "trainable": trainable,
        "task": "reviews",
        "epochs": 6,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": seconds_per_epoch},
        "strategies": [{"kind": "grid", "points": 2}],
        "cluster": {"storage": str(folder), "max_concurrent": 1},
        "test": trainable == "learning_curve",
    }


@pytest.mark.ray
@pytest.mark.parametrize("trainable", ["learning_curve", "tests.support.own_trainables:train"])
def test_a_full_disk_ends_the_run_and_a_resume_goes_on(
    ray_session: None, drivers: Drivers, small_disk: Path, tmp_path: Path, trainable: str
) -> None:
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(small_disk, trainable, 0.5)))
    spec = load_spec(spec_file)
    driver = drivers.start("run", str(spec_file))
    assert driver.stdout is not None
    seen = 0
    for line in driver.stdout:
        if "  epoch " in line and (seen := seen + 1) == 4:
            break
    ballast = disks.fill(small_disk)
    assert shutil.disk_usage(small_disk).free < 4096
    _, told = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 1, told
    assert "No space left on device" in told or "database or disk is full" in told
    assert str(small_disk) in told
    assert f"go on with `tunefleet resume {spec.run_folder}`" in told
    assert "Traceback" not in told, told
    assert drivers.alive() == {}
    before = study_of(spec)
    assert before.state is StudyState.RUNNING
    assert not any(trial.state is TrialState.FAILED for trial in before.trials)
    assert sum(len(trial.reports) for trial in before.trials) >= 3

    refused = drivers.start("resume", "full", "--storage", str(small_disk))
    _, told = refused.communicate(timeout=SECONDS)
    assert refused.returncode == 1, told
    assert str(small_disk) in told
    ballast.unlink()
    resumed = drivers.start("resume", "full", "--storage", str(small_disk))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    assert after.state is StudyState.FINISHED
    whole = load_spec(spec_of(tmp_path / "whole", trainable, 0.0))
    assert outcomes(after) == outcomes(run_experiment(whole, progress=False).studies[0])


@pytest.mark.unit
def test_tunes_own_complaint_is_not_beside_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Which is the first to meet the full disk is chance: the study store, our snapshot or Tune's copy of its state."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    syncer = SimpleNamespace(wait=full, sync_up=lambda *_: True)
    folders = {"experiment_driver_staging_path": "/runs/full", "experiment_fs_path": "/runs/full"}
    saving = _ExperimentCheckpointManager(storage=SimpleNamespace(syncer=syncer, **folders), checkpoint_period=0)
    logger = logging.getLogger(_ExperimentCheckpointManager.__module__)
    logger.addHandler(caplog.handler)  # Ray's loggers may hand nothing on
    try:
        saving.sync_up_experiment_state(lambda: None, force=True)
        assert "Error writing bytes to file" in caplog.text
        caplog.clear()
        with tune_settings():
            saving.sync_up_experiment_state(lambda: None, force=True)
        assert caplog.text == ""
    finally:
        logger.removeHandler(caplog.handler)


@pytest.mark.unit
def test_only_a_full_disk_of_the_storage_is_nobodys_failure() -> None:
    def told(error: OSError) -> str:
        failed = RayTaskError("save", "its traceback", error)
        return str(full_disk(pickle.loads(pickle.dumps(failed)), "/runs/full"))

    assert "/runs/full: [Errno 28]" in told(OSError(errno.ENOSPC, "Error writing bytes to file"))
    assert "/runs/full/a: [Errno 122]" in told(OSError(errno.EDQUOT, "quota", "/runs/full/a"))
    assert told(OSError(errno.ENOSPC, "full", "/var/elsewhere")) == "None"
    assert told(OSError(errno.EACCES, "denied", "/runs/full/a")) == "None"
