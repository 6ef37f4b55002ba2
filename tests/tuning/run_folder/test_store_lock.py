"""Copies of one run folder that record into one store: one driver at a time, and one that was killed holds nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.storage import StorageError
from tests.support.buckets import credentials, s3_server
from tests.support.recorded_runs import run_left
from tests.support.specs import curve_experiment
from tuning import extend_experiment, load_spec, run_experiment
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.run_folder.run_storage import locked_run_storage
from tuning.run_folder.store_lock import StoreLock, store_lock
from tuning.spec.models import SPEC_FILE, STORE_FILE, STORE_VARIABLE, ExperimentSpec
from tuning.spec.store_url import StoreError, sqlite_url
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import simulated_ray

if TYPE_CHECKING:
    from tests.support.postgres_server import PostgresServer

HERE = rf"is in use by process {os.getpid()} of .+ on .+, since 20.+ UTC\. Wait for it, stop it"
HOLD = """
import os, sys, time
from tuning.run_folder.store_lock import StoreLock
lock = StoreLock(os.environ["URL"], "mine")
lock.take()
print("held", flush=True)
time.sleep(600)
"""


def copy_of(spec: ExperimentSpec, place: Path) -> ExperimentSpec:
    """Copies a run folder to another place."""
    shutil.copytree(spec.run_folder, place / spec.name)
    return load_spec(place / spec.name / SPEC_FILE, [f"cluster.storage={place}"])


@pytest.mark.unit
def test_of_two_copies_that_record_into_one_file_one_has_a_driver(tmp_path: Path) -> None:
    file = tmp_path / "team.db"
    spec = run_left(tmp_path / "mine", strategies=[{"kind": "grid", "points": 2}], store=sqlite_url(file))
    copy = copy_of(spec, tmp_path / "copy")
    other = load_spec(spec, {"name": "other"})
    told = rf"name: {spec.name}: {file} {HERE}"
    with (
        locked_run_storage(spec),
        locked_run_storage(other),
        pytest.raises(RunFolderError, match=told),
        locked_run_storage(copy),
    ):
        pass
    with locked_run_storage(copy):
        pass


@pytest.mark.unit
def test_a_store_in_the_run_folder_needs_no_lock_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / STORE_FILE
    with store_lock(sqlite_url(file), "mine", tmp_path), store_lock(sqlite_url(file), "mine", tmp_path):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.unit
def test_a_store_that_cannot_be_written_is_named_before_it_is_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="cannot make its folder"),
        store_lock(sqlite_url(tmp_path / "file" / "team.db"), "mine", None),
    ):
        pass


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


def fast(folder: Path, **changed: Any) -> ExperimentSpec:
    fixed = {"model.seconds_per_epoch": 60.0}
    return curve_experiment(folder, strategies=[{"kind": "grid", "points": 2}], epochs=2, fixed=fixed, **changed)


@pytest.mark.postgres
@pytest.mark.system
@pytest.mark.smoke
def test_while_a_copy_is_extended_no_other_is_run_resumed_extended_or_removed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, url)
    monkeypatch.chdir(tmp_path)
    spec = fast(tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text(spec.to_yaml())
    told: list[tuple[int, str]] = []

    def all_ways() -> None:
        elsewhere = ["--storage", "copy"]
        for words in (
            ["resume", spec.name, *elsewhere],
            ["extend", spec.name, "seeds=[0, 1]", *elsewhere],
            ["run", "mine.yaml", "cluster.storage=new"],
            ["rm", spec.name, "--yes", *elsewhere],
            ["rm", spec.name, "--yes", "--storage", "nowhere", "--store", url],
        ):
            told.append((main(words), capsys.readouterr().err))

    with simulated_ray() as ray:
        run_experiment(spec, progress=False)
        copy = copy_of(spec, tmp_path / "copy")
        text = (copy.run_folder / SPEC_FILE).read_text()
        ray.at(ray.seconds + 50.0, all_ways)
        outcome = extend_experiment(spec.name, {"seeds": [0, 1]}, progress=False)
    assert [status for status, _ in told] == [2] * 5
    for _, line in told:
        assert f"is in use by process {os.getpid()} of" in line, told
        assert f"on {socket.gethostname()[:15]}" in line
    assert {study.seed for study in outcome.studies} == {0, 1}
    assert StudyStore(url).load(spec.name) == outcome
    assert (copy.run_folder / SPEC_FILE).read_text() == text
    assert not (tmp_path / "new" / spec.name).exists()


@pytest.mark.postgres
@pytest.mark.system
def test_a_driver_that_was_killed_holds_nothing_and_another_experiment_is_free(url: str) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env={**os.environ, "URL": url}
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with store_lock(url, "other", None):
        pass
    told = rf"name: mine: postgresql://.* is in use by process {first.pid} of .+, since 20.+ UTC\. .*--take-over"
    with pytest.raises(RunFolderError, match=told) as refused, store_lock(url, "mine", None):
        pass
    assert "***" in str(refused.value)
    first.kill()
    first.wait()
    lock, deadline = StoreLock(url, "mine"), time.monotonic() + 60.0
    while True:  # the server sees at once that the connection was closed, but not in the same moment
        try:
            lock.take()
            break
        except RunFolderError:
            assert time.monotonic() < deadline
    lock.release()
    lock.take()  # at once
    lock.release()


@pytest.mark.postgres
@pytest.mark.system
def test_the_lock_outlasts_a_restart_of_the_server_unless_another_driver_was_faster(
    postgres: PostgresServer, url: str
) -> None:
    lock, other = StoreLock(url, "mine"), StoreLock(url, "mine")
    lock.take()
    postgres.stop()
    postgres.start()
    lock.keep()
    with pytest.raises(RunFolderError, match=HERE):
        other.take()
    postgres.stop()
    postgres.start()
    other.take()
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"was taken over by process {os.getpid()} of .*records nothing more"):
            lock.keep()
        other.release()  # and has ended since
    lock.release()


@pytest.mark.postgres
@pytest.mark.system
def test_a_driver_from_which_the_store_is_taken_over_stops_with_its_next_snapshot(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, url)
    spec = fast(tmp_path / "runs")
    other = StoreLock(url, spec.name)
    with simulated_ray() as ray:
        ray.at(90.0, lambda: other.take(take_over=True))
        with pytest.raises(StorageError, match="was taken over by"):
            run_experiment(spec, progress=False)
        other.release()
        (study,) = run_experiment(spec, progress=False, resume=True).studies
    assert [len(trial.reports) for trial in study.trials] == [2, 2]


@pytest.mark.postgres
@pytest.mark.system
def test_a_run_in_a_bucket_holds_the_store_too_and_both_are_taken_over(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, url)
    with s3_server() as server:
        for name, value in credentials(server).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "one machine"))
        spec, copy = (curve_experiment(f"s3://bucket/{tmp_path.name}/{place}") for place in ("runs", "copy"))
        with locked_run_storage(spec) as first:
            with pytest.raises(RunFolderError, match=r"postgresql://.* is in use by"), locked_run_storage(copy):
                pass
            monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "another"))
            with pytest.raises(RunFolderError, match=r"s3://.* is in use by .*--take-over"), locked_run_storage(spec):
                pass
            first.save()
            with locked_run_storage(spec, take_over=True) as second:
                second.save()
                with pytest.raises(StorageError, match=r"s3://.* was taken over by"):
                    first.save()
                second.save()
    with locked_run_storage(fast(tmp_path / "runs", name=spec.name)):
        pass
