"""One driver per run in a bucket, whatever machines they are on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.storage import StorageError, open_bucket
from tests.support.buckets import credentials, google_server, google_storage, objects, s3_server
from tests.support.stopped_runs import spec_of
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.outcome import StudyState, TrialState
from tuning.run_folder.lease import Holder, Lease, held_lease
from tuning.testing.simulated_ray import simulated_ray

NAME = "mine"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with s3_server() as s3, google_server() as google:
        yield s3, google


@pytest.fixture
def bucket(
    servers: tuple[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> str:
    """Returns the URI of an empty folder."""
    for name, value in credentials(servers[0]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "machine"))
    return f"s3://bucket/{abs(hash(request.node.name))}"


@pytest.mark.unit
def test_a_second_driver_is_told_who_holds_the_run_since_when_and_how_to_take_it_over(bucket: str) -> None:
    who = rf"process {os.getpid()} of .+ on {socket.gethostname()}, since 20.+ UTC"
    with held_lease(bucket, NAME, "lock of one machine"):
        told = rf"name: mine: {bucket}/mine is in use by {who}\..*free in \d+ s.*resume {bucket}/mine --take-over"
        with pytest.raises(RunFolderError, match=told), held_lease(bucket, NAME, "lock of another"):
            pass
        with held_lease(bucket, "another", "lock of another"):
            pass
    assert objects(bucket) == []
    with held_lease(bucket, NAME, "lock of another"):
        assert objects(bucket) == ["mine/driver.lease"]


@pytest.mark.unit
def test_a_folder_wants_no_lease(tmp_path: Path) -> None:
    with held_lease(str(tmp_path), NAME, None) as lease:
        assert lease is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["s3", "gs"])
def cloud(request: pytest.FixtureRequest, bucket: str, servers: tuple[str, str], tmp_path: Path) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    if request.param == "s3":
        return FileSystem.from_uri(bucket)
    return google_storage(servers[1], tmp_path.name)[0].filesystem, f"bucket/{tmp_path.name}"


def lease(cloud: tuple[Any, str], lock: str | None, lasts: float = 300.0) -> Lease:
    """Returns the lease of a driver that holds the lock with that id."""
    return Lease(*cloud, "s3://bucket/runs/mine", Holder.here(lock, lasts))


@pytest.mark.unit
def test_a_driver_that_was_killed_keeps_nobody_out_of_its_own_machine_and_others_for_a_while(
    cloud: tuple[Any, str],
) -> None:
    lease(cloud, "one").take(NAME)
    with pytest.raises(RunFolderError, match="is in use"):
        lease(cloud, "another").take(NAME)
    with pytest.raises(RunFolderError, match="is in use"):  # file systems without locks cannot tell
        lease(cloud, None).take(NAME)
    lease(cloud, "one", lasts=-1.0).take(NAME)  # nobody else can hold that lock
    lease(cloud, "another").take(NAME)  # and that one had not been renewed for too long
    with pytest.raises(RunFolderError, match="is in use"):
        lease(cloud, "one").take(NAME)


@pytest.mark.unit
def test_a_driver_whose_run_was_taken_over_writes_nothing_more(cloud: tuple[Any, str]) -> None:
    first, second = lease(cloud, "one"), lease(cloud, "another")
    first.take(NAME)
    first.keep()
    second.take(NAME, take_over=True)
    with pytest.raises(StorageError, match=rf"was taken over by process {os.getpid()} of .*writes nothing more there"):
        first.keep()
    first.give_up()
    second.keep()  # it is there still
    second.give_up()
    with pytest.raises(StorageError, match="was taken over by another driver, which has ended"):
        first.keep()
    lease(cloud, "a third").take(NAME)


@pytest.mark.unit
def test_a_driver_that_takes_no_snapshot_for_hours_keeps_its_lease(bucket: str) -> None:
    """A driver takes none in a long epoch, or while it confirms."""
    filesystem, folder = open_bucket(bucket)

    def written() -> Any:
        return filesystem.get_file_info(f"{folder}/{NAME}/driver.lease").mtime

    until = time.monotonic() + 60
    with held_lease(bucket, NAME, "lock", renewed=0.05):
        first = written()
        while written() == first:  # a bucket's clock counts seconds
            assert time.monotonic() < until


@pytest.mark.unit
def test_half_a_lease_keeps_nobody_out(cloud: tuple[Any, str]) -> None:
    filesystem, folder = cloud
    with filesystem.open_output_stream(f"{folder}/driver.lease") as output:
        output.write(b'{"token": "ab')
    lease(cloud, "one").take(NAME)


def in_the_bucket(bucket: str) -> dict[str, Any]:
    """Returns an experiment of two trials, one after the other, in the bucket."""
    short = {"strategies": [{"kind": "grid", "points": 2}], "cluster": {"storage": bucket, "max_concurrent": 1}}
    return {**spec_of("runs", "grid", 10.0, name="slow"), **short}


@pytest.mark.tune
def test_an_experiment_in_a_bucket_cannot_be_resumed_elsewhere_beside_its_run_but_taken_over(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = in_the_bucket(bucket)
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(raw))
    told: list[tuple[int, str]] = []
    own = os.environ["TUNEFLEET_CACHE"]

    def elsewhere() -> None:
        monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "another machine"))
        for command in (["resume", f"{bucket}/slow"], ["run", str(tmp_path / "slow.yaml")]):
            told.append((main(command), capsys.readouterr().err))
        monkeypatch.setenv("TUNEFLEET_CACHE", own)

    with simulated_ray() as ray:
        ray.at(50.0, elsewhere)
        (study,) = run_experiment(load_spec(tmp_path / "slow.yaml"), progress=False).studies
    assert [status for status, _ in told] == [2, 2]
    assert all(f"is in use by process {os.getpid()} of" in line for _, line in told), told
    assert study.state is StudyState.FINISHED
    assert study.count(TrialState.FAILED) == 0
    assert [name for name in objects(bucket) if "lease" in name or ".clock" in name] == []


@pytest.mark.tune
def test_a_driver_that_is_taken_over_stops_at_its_next_snapshot_and_the_other_one_ends_the_run(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = in_the_bucket(bucket)
    other = held_lease(bucket, "slow", "lock of another machine", take_over=True)
    with simulated_ray() as ray:
        ray.at(50.0, other.__enter__)
        with pytest.raises(StorageError, match=r"was taken over by process"):
            run_experiment(load_spec(raw), progress=False)
    other.__exit__(None, None, None)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "another machine"))
    with simulated_ray():
        (study,) = run_experiment(load_spec(raw), progress=False, resume=True).studies
    assert study.state is StudyState.FINISHED
    assert study.count(TrialState.FAILED) == 0


@pytest.mark.unit
def test_two_threads_of_one_driver_that_renew_the_lease_never_take_each_other_for_a_stranger(tmp_path: Path) -> None:
    """On a folder a file is empty while it is written anew."""
    from pyarrow.fs import LocalFileSystem

    lease = Lease(LocalFileSystem(), str(tmp_path), "s3://bucket/mine", Holder.here("lock"))
    lease.take(NAME)

    def renew() -> None:
        for _ in range(300):
            lease.keep()

    with ThreadPoolExecutor(2) as threads:
        for ended in [threads.submit(renew) for _ in range(2)]:
            ended.result()
