"""The disk of the storage fills up in the middle of a run: told at once, nothing lost but the last moments."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
import yaml
from ray.exceptions import RayTaskError
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager

from cluster.capacity import ClusterError
from tests.support import disks, gated
from tests.support.drivers import Drivers, reports_seen
from tests.support.power_cuts import Film, in_virtual_time
from tests.support.stopped_runs import SECONDS, outcomes, spec_of, study_of
from tuning import load_spec
from tuning.outcome import StudyState, TrialState
from tuning.store.study_store import StoreError
from tuning.supervision.full_disk import full_disk_error
from tuning.tune_compat.settings import tune_settings

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


@pytest.mark.system
@pytest.mark.parametrize("trainable", [gated.CURVE, gated.FUNCTION])
def test_a_full_disk_ends_the_run_and_a_resume_goes_on(
    drivers: Drivers, small_disk: Path, tmp_path: Path, trainable: str
) -> None:
    gate = gated.Gate(tmp_path / "gate", 4)
    raw = spec_of(small_disk, "grid", 0.0, test=False, **gate.fields(trainable))
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(raw))
    spec = load_spec(spec_file)
    driver = drivers.start("run", str(spec_file))
    assert reports_seen(driver, 4) == 4
    ballast = disks.fill(small_disk)
    assert shutil.disk_usage(small_disk).free < 4096
    gate.open()
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

    if trainable == gated.CURVE:
        with pytest.raises(ClusterError, match=f"{small_disk}.* 0 MB free.*Make room"):
            in_virtual_time(spec, resume=True)
        ballast.unlink()
        in_virtual_time(spec, resume=True)
    else:  # a function runs in a thread of Tune's, which knows no virtual time
        ballast.unlink()
        resumed = drivers.start("resume", "stopped", "--storage", str(small_disk))
        _, told = resumed.communicate(timeout=SECONDS)
        assert resumed.returncode == 0, told
    after = study_of(spec)
    assert after.state is StudyState.FINISHED
    (expected,) = in_virtual_time(load_spec(spec_of(tmp_path / "whole", "grid", 1.0, test=False))).studies
    assert outcomes(after) == outcomes(expected)


@pytest.mark.tune
def test_a_store_whose_disk_is_full_from_any_write_on_ends_the_run_without_a_traceback_and_a_resume_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few: dict[str, Any] = {"strategies": [{"kind": "grid", "points": 2}]}
    (expected,) = in_virtual_time(load_spec(spec_of(tmp_path / "whole", "grid", 10.0, **few))).studies
    for first in itertools.count(24, 36):  # writes; the study has begun by then
        film = Film(spec_of(tmp_path / str(first), "grid", 10.0, **few), tmp_path / "none")
        told = ""
        with listened("ray.tune.execution.tune_controller", caplog), full_from(first) as refused:
            try:
                in_virtual_time(film.spec)
            except StoreError as error:
                told = str(error)
        if not refused:
            break
        assert "database or disk is full" in told, first
        assert "Traceback" not in caplog.text, first
        recorded = film.recorded()
        assert recorded is not None
        assert recorded.studies[0].count(TrialState.FAILED) == 0, first
        assert outcomes(film.resume().studies[0]) == outcomes(expected), first
    assert first > 60


@contextlib.contextmanager
def full_from(first: int) -> Iterator[list[str]]:
    """In the block, SQLite refuses what changes anything, from that statement on; gives what it has refused."""
    written, refused = itertools.count(1), list[str]()

    def executes(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")) and next(written) >= first:
            refused.append(statement)
            full = sqlite3.OperationalError("database or disk is full")
            raise sqlalchemy.exc.OperationalError(statement, parameters, full)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", executes)
    try:
        yield refused
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", executes)


@contextlib.contextmanager
def listened(logger: str, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """In the block `caplog` hears it: Ray's loggers may hand nothing on."""
    logging.getLogger(logger).addHandler(caplog.handler)
    try:
        yield
    finally:
        logging.getLogger(logger).removeHandler(caplog.handler)


@pytest.mark.unit
def test_tunes_own_complaint_is_not_beside_ours(caplog: pytest.LogCaptureFixture) -> None:
    """Which is the first to meet the full disk is chance: the study store, our snapshot or Tune's copy of its state."""

    def full() -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    syncer = SimpleNamespace(wait=full, sync_up=lambda *_: True)
    folders = {"experiment_driver_staging_path": "/runs/full", "experiment_fs_path": "/runs/full"}
    saving = _ExperimentCheckpointManager(storage=SimpleNamespace(syncer=syncer, **folders), checkpoint_period=0)
    with listened(_ExperimentCheckpointManager.__module__, caplog):
        saving.sync_up_experiment_state(lambda: None, force=True)
        assert "Error writing bytes to file" in caplog.text
        caplog.clear()
        with tune_settings():
            saving.sync_up_experiment_state(lambda: None, force=True)
        assert caplog.text == ""


@pytest.mark.unit
def test_only_a_full_disk_of_the_storage_is_nobodys_failure() -> None:
    def told(error: Exception) -> str:
        failed = RayTaskError("save", "its traceback", error)
        return str(full_disk_error(pickle.loads(pickle.dumps(failed)), "/runs/full"))

    assert "/runs/full: [Errno 28]" in told(OSError(errno.ENOSPC, "Error writing bytes to file"))
    assert "/runs/full/a: [Errno 122]" in told(OSError(errno.EDQUOT, "quota", "/runs/full/a"))
    assert told(OSError(errno.ENOSPC, "full", "/var/elsewhere")) == "None"
    assert told(OSError(errno.EACCES, "denied", "/runs/full/a")) == "None"
    # A library's words name no file; the disk of the storage, which is not there, has no want of room.
    assert told(RuntimeError("No space left on device (os error 28)")) == "None"


@pytest.mark.system
def test_words_of_a_full_disk_count_where_the_storage_has_no_room(small_disk: Path) -> None:
    words = "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"  # torch.save's
    failed = RayTaskError("step", "its traceback", RuntimeError(words))
    assert f"{small_disk}: " in str(full_disk_error(failed, str(small_disk)))
    assert full_disk_error(RayTaskError("step", "its traceback", RuntimeError("diverged")), str(small_disk)) is None
