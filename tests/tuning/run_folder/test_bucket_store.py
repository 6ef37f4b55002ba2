"""The copy of the study store in a bucket: wherever its upload is cut off, and whoever resumes where."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.capacity import ClusterError
from tests.support.buckets import credentials, google_server, google_storage, s3_server
from tests.support.cut_off_buckets import CutOff, CutOffBucket
from tuning.run_folder.bucket_store import BucketStore
from tuning.spec.store_url import StoreError

pytestmark = pytest.mark.unit

URI = "s3://bucket/runs/mine"


class Run:
    """One run on several machines that share only the bucket, each with a working copy of the store."""

    def __init__(self, filesystem: Any, folder: str, machines: Path) -> None:
        self.filesystem, self.folder, self.machines = filesystem, folder, machines

    def machine(self, name: str) -> Path:
        """Returns the working copy on a machine."""
        (folder := self.machines / name).mkdir(exist_ok=True)
        return folder / "study.db"

    def copies(self, filesystem: Any = None) -> BucketStore:
        """Returns the copies as a new process sees them."""
        return BucketStore(filesystem or self.filesystem, self.folder, URI)

    def object(self, kind: str = "") -> str:
        return f"{self.folder}/study.db{kind}"

    def contents(self, kind: str = "") -> bytes:
        with self.filesystem.open_input_stream(self.object(kind)) as source:
            return bytes(source.read())

    def put(self, data: bytes, kind: str = "") -> None:
        with self.filesystem.open_output_stream(self.object(kind)) as target:
            target.write(data)

    def fetched(self) -> list[int]:
        """Returns what a machine without a store fetches."""
        target = self.machines / "reader" / "study.db"
        return reports(target) if self.copies().fetch(target) else []


def add(store: Path, *numbers: int) -> None:
    """Adds reports, as the recorder does."""
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS reports (number INTEGER, text TEXT)")
        connection.executemany("INSERT INTO reports VALUES (?, ?)", [(number, "x" * 3000) for number in numbers])


def reports(store: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM reports ORDER BY number")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Makes a run in a folder in place of a bucket, with the same interface."""
    from pyarrow.fs import LocalFileSystem

    (tmp_path / "bucket").mkdir()
    return Run(LocalFileSystem(), str(tmp_path / "bucket"), tmp_path)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with s3_server() as s3, google_server() as google:
        yield s3, google


@pytest.fixture(params=["s3", "gs"])
def cloud(
    request: pytest.FixtureRequest, servers: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    from pyarrow.fs import FileSystem

    s3, google = servers
    for name, value in credentials(s3).items():
        monkeypatch.setenv(name, value)
    filesystem = (
        FileSystem.from_uri("s3://bucket/runs")[0]
        if request.param == "s3"
        else google_storage(google, tmp_path.name)[0].filesystem
    )
    return Run(filesystem, f"bucket/{tmp_path.name}", tmp_path)


def test_in_a_real_bucket_the_newest_copy_and_the_one_before_it_are_kept(cloud: Run) -> None:
    assert cloud.fetched() == []
    store, copies = cloud.machine("a"), cloud.copies()
    for number in range(3):
        add(store, number)
        copies.save(store)
    assert cloud.fetched() == [0, 1, 2]
    cloud.put(cloud.contents()[:-4096])
    assert cloud.fetched() == [0, 1]
    cloud.put(b"", ".previous")
    with pytest.raises(
        ClusterError, match=r"study\.db is damaged \(it is cut off, .*previous is damaged \(it is cut off"
    ):
        cloud.fetched()


@pytest.mark.parametrize("case", ["the same process", "a resumed one"])
def test_wherever_an_upload_is_cut_off_the_bucket_has_the_copy_before_it_or_the_new_one(run: Run, case: str) -> None:
    survived, seen = 0, []
    while True:
        folder = run.machines / f"{case}{survived}"
        folder.mkdir()
        one = Run(run.filesystem, str(folder), folder)
        store = one.machine("a")
        bucket = CutOffBucket(one.filesystem, 10**6)
        copies = one.copies(bucket)
        for number in range(2):
            add(store, number)
            copies.save(store)
        cut = CutOffBucket(one.filesystem, survived)
        if case == "a resumed one":
            copies = one.copies(cut)
        else:
            bucket.survived = bucket.done + survived
        add(store, 2)
        try:
            copies.save(store)
        except CutOff:
            seen.append(one.fetched())
            assert seen[-1] in ([0, 1], [0, 1, 2])
            # Whoever goes on, there or elsewhere, can save again, and nothing is lost on the same machine.
            one.copies().update_working_copy(store)
            assert reports(store) == [0, 1, 2]
            one.copies().save(store)
            assert one.fetched() == [0, 1, 2]
        else:
            break
        survived += 1
    assert {len(found) for found in seen} == {2, 3}


def test_a_resume_goes_on_from_its_own_store_unless_another_machine_has_gone_on(run: Run) -> None:
    a, b = run.machine("a"), run.machine("b")
    add(a, 1)
    run.copies().save(a)
    add(a, 2)  # after the last snapshot; then the driver was killed
    run.copies().update_working_copy(a)
    assert reports(a) == [1, 2]
    run.copies().update_working_copy(b)
    assert reports(b) == [1]
    add(b, 3)
    run.copies().save(b)
    run.copies().update_working_copy(a)
    assert reports(a) == [1, 3]


@pytest.mark.parametrize("listed", [True, False], ids=["with checksums", "of an older version"])
@pytest.mark.parametrize("size", [0, 100, 4096, -4096, -1])
def test_a_cut_off_copy_is_never_taken_over_a_whole_store_of_this_machine(
    run: Run, caplog: pytest.LogCaptureFixture, size: int, listed: bool
) -> None:
    a = run.machine("a")
    add(a, 1, 2)
    run.copies().save(a)
    add(a, 3)
    run.put(run.contents()[:size])
    if not listed:
        for kind in (".checksums", ".saved"):
            Path(run.object(kind)).unlink(missing_ok=True)
            a.with_name(f"study.db{kind}").unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING):
        run.copies().update_working_copy(a)
    assert reports(a) == [1, 2, 3]
    assert "study.db is damaged" in caplog.text
    assert "The store on this machine is whole: the run continues from that." in caplog.text
    with pytest.raises(ClusterError, match=r"study\.db is damaged"):
        run.copies().update_working_copy(run.machine("b"))


def test_a_copy_with_a_flipped_bit_that_sqlite_does_not_mind_is_not_used(run: Run) -> None:
    a, copies = run.machine("a"), run.copies()
    for number in range(2):
        add(a, number)
        copies.save(a)
    run.put(run.contents().replace(b"xxxx", b"xxxy", 1))
    assert run.fetched() == [0]


def test_a_damaged_store_of_this_machine_is_replaced_by_the_copy_and_never_uploaded(run: Run) -> None:
    a, copies = run.machine("a"), run.copies()
    add(a, *range(5))
    copies.save(a)
    whole = a.read_bytes()
    a.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    with pytest.raises(StoreError, match=r"study store .*study\.db: damaged: .*The copy in the bucket stays as it is"):
        copies.save(a)
    assert run.fetched() == list(range(5))
    run.copies().update_working_copy(a)
    assert reports(a) == list(range(5))


def test_what_sqlite_has_left_of_the_replaced_store_is_not_played_into_the_new_one(run: Run) -> None:
    a, b = run.machine("a"), run.machine("b")
    add(a, *range(5))
    run.copies().save(a)
    run.copies().update_working_copy(b)
    add(b, 5)
    run.copies().save(b)
    journal = a.with_name("study.db-journal")
    with contextlib.closing(sqlite3.connect(a)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE reports SET text = 'y'")
        hot = journal.read_bytes()  # as a kill would leave it
        connection.rollback()
    journal.write_bytes(hot)
    run.copies().update_working_copy(a)
    assert reports(a) == list(range(6))


def test_a_bucket_that_gives_back_other_bytes_keeps_its_copy(run: Run) -> None:
    class Forgetful(CutOffBucket):
        """A bucket that accepts every upload and loses its end."""

        def open_input_stream(self, name: str) -> Any:
            if name.endswith(".upload"):
                Path(name).write_bytes(Path(name).read_bytes()[:-1])
            return run.filesystem.open_input_stream(name)

    a = run.machine("a")
    add(a, 1)
    run.copies().save(a)
    add(a, 2)
    with pytest.raises(ClusterError, match="gives back other bytes than were written"):
        run.copies(Forgetful(run.filesystem, 10**6)).save(a)
    assert run.fetched() == [1]
