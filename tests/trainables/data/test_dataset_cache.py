"""The cache of tokenised splits: one builder at a time, nothing half-built, nothing damaged, a bound on its size."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trainables.data.dataset_cache import CacheContent, DatasetCache
from trainables.machine.disk import lock

KEYS = [digit * 64 for digit in "abcde"]
LARGE = int(1e9)
PROCESSES = multiprocessing.get_context("forkserver")  # they start at once, and share nothing with this process
PROCESSES.set_forkserver_preload(["datasets"])


def rows(count: int = 50) -> Any:
    """A split as a task tokenises it."""
    from datasets import Dataset

    ids = [list(range(i % 7 + 1)) for i in range(count)]
    return Dataset.from_dict({"input_ids": ids, "labels": list(range(count)), "length": [len(row) for row in ids]})


def content() -> CacheContent:
    return CacheContent({"train": rows(), "validation": rows(20)}, {"label_names": ["no", "yes"]})


def no_build() -> CacheContent:
    raise AssertionError("the entry was to be found")


def write_line(file: Path, line: str) -> None:
    with file.open("a") as stream:
        stream.write(f"{line}\n")


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def ask(folder: Path, log: Path, gate: Path) -> None:
    """A process that notes when it requests an entry, when it builds it (until `gate` exists), and what it got."""

    def build() -> CacheContent:
        write_line(log, f"{os.getpid()} builds")
        wait_for(gate.exists)
        return content()

    write_line(log, f"{os.getpid()} asks")
    entry = DatasetCache(folder, LARGE).fetch(KEYS[0], build)
    write_line(log, f"{os.getpid()} got {len(entry.splits['train'])} {entry.splits['train'][49]['labels']}")


@pytest.fixture
def store(tmp_path: Path) -> DatasetCache:
    return DatasetCache(tmp_path / "cache", LARGE)


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts processes that ask for the first key; all are gone at the end."""
    started: list[Any] = []

    def start() -> Any:
        process = PROCESSES.Process(target=ask, args=(tmp_path / "cache", tmp_path / "log", tmp_path / "gate"))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def left(store: DatasetCache) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


@pytest.mark.unit
def test_what_is_stored_is_read_as_it_was_with_its_facts(store: DatasetCache) -> None:
    store.fetch(KEYS[0], content)
    entry = store.fetch(KEYS[0], no_build)
    assert {name: split.to_dict() for name, split in entry.splits.items()} == {
        "train": rows().to_dict(),
        "validation": rows(20).to_dict(),
    }
    assert entry.splits["train"].features == rows().features
    assert entry.facts == {"label_names": ["no", "yes"]}
    assert left(store) == [KEYS[0]]


@pytest.mark.unit
def test_a_selection_is_stored_in_its_order(store: DatasetCache) -> None:
    order = [5, 3, 3, 19, 0]
    entry = store.fetch(KEYS[0], lambda: CacheContent({"test": rows(20).select(order)}, {}))
    assert entry.splits["test"]["labels"][:] == order


@pytest.mark.unit
def test_the_splits_are_mapped_and_not_read_into_memory(store: DatasetCache) -> None:
    entry = store.fetch(KEYS[0], content)
    files = {name: [Path(file["filename"]) for file in split.cache_files] for name, split in entry.splits.items()}
    assert files == {name: [store.folder / KEYS[0] / f"{name}.arrow"] for name in ("train", "validation")}


@pytest.mark.system
def test_of_two_processes_that_ask_at_once_one_builds(asking: Callable[[], Any], tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [asking(), asking()]
    wait_for(lambda: sum(line.endswith("asks") for line in lines(log)) == 2)
    wait_for(lambda: any(line.endswith("builds") for line in lines(log)))
    (tmp_path / "gate").touch()
    for process in processes:
        process.join(60)
    told = [line.partition(" ")[2] for line in lines(log)]
    assert sorted(told) == ["asks", "asks", "builds", "got 50 49", "got 50 49"]


@pytest.mark.system
def test_a_process_that_waits_takes_over_when_the_builder_is_killed(
    asking: Callable[[], Any], store: DatasetCache, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first = asking()
    wait_for(lambda: f"{first.pid} builds" in lines(log))
    second = asking()
    wait_for(lambda: f"{second.pid} asks" in lines(log))
    assert f"{KEYS[0]}.building" in left(store)
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: f"{second.pid} builds" in lines(log))
    (tmp_path / "gate").touch()
    second.join(60)
    assert lines(log)[-1] == f"{second.pid} got 50 49"
    assert left(store) == [KEYS[0]]


@pytest.mark.system
def test_the_next_builder_of_anything_removes_what_a_killed_one_left(
    asking: Callable[[], Any], store: DatasetCache, tmp_path: Path
) -> None:
    process = asking()
    wait_for(lambda: f"{process.pid} builds" in lines(tmp_path / "log"))
    store.fetch(KEYS[1], content)
    assert f"{KEYS[0]}.building" in left(store)  # it is being built
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (store.folder / f"{KEYS[3]}.17-4.removed").mkdir()  # killed while it evicted
    store.fetch(KEYS[2], content)
    assert left(store) == [KEYS[1], KEYS[2]]


def waits_for(path: Path) -> bool:
    """True if a process waits for the lock, by `/proc/locks`: `1: -> FLOCK ADVISORY WRITE 4711 fe:00:590961 0 EOF`."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if " -> " in line]
    return str(path.stat().st_ino) in {words[-3].rpartition(":")[2] for words in waiting}


@pytest.mark.unit
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")
def test_who_waited_for_a_lock_that_was_removed_takes_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    first = lock(path, wait=True)
    assert first is not None
    with ThreadPoolExecutor() as pool:
        second = pool.submit(lock, path, wait=True)
        wait_for(lambda: waits_for(path))
        path.unlink()
        first.close()
        file = second.result(60)
    assert file is not None
    with file:
        assert lock(path, wait=False) is None


@pytest.mark.unit
def test_an_error_of_the_builder_passes_through_and_leaves_nothing(store: DatasetCache) -> None:
    def fail() -> CacheContent:
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        store.fetch(KEYS[0], fail)
    assert left(store) == []


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.arrow", lambda data: data[:-100]),
        ("validation.arrow", lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:]),
        ("facts.json", lambda data: data.replace(b"yes", b"YES")),
        ("manifest.json", lambda data: b""),
        ("manifest.json", lambda data: b"{}"),
        ("manifest.json", lambda data: data.replace(b"train.arrow", b"trane.arrow")),
        ("train.arrow", None),
    ],
)
def test_a_damaged_entry_is_built_again_and_logged(
    store: DatasetCache, name: str, damage: Callable[[bytes], bytes] | None, caplog: pytest.LogCaptureFixture
) -> None:
    store.fetch(KEYS[0], content)
    file = store.folder / KEYS[0] / name
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        entry = store.fetch(KEYS[0], content)
    assert re.search(rf"{KEYS[0]} is damaged and built again", caplog.text)
    assert entry.splits["train"].to_dict() == rows().to_dict()
    store.fetch(KEYS[0], no_build)
    assert left(store) == [KEYS[0]]


@pytest.mark.unit
def test_an_entry_without_its_manifest_is_replaced(store: DatasetCache) -> None:
    store.fetch(KEYS[0], content)
    (store.folder / KEYS[0] / "manifest.json").unlink()
    store.fetch(KEYS[0], content)
    store.fetch(KEYS[0], no_build)
    assert left(store) == [KEYS[0]]


def size_of(store: DatasetCache, key: str) -> int:
    return sum(path.stat().st_size for path in (store.folder / key).iterdir())


def age(store: DatasetCache, *keys: str) -> None:
    """Sets the last uses of `keys` to a minute after each other, long ago."""
    for i, key in enumerate(keys):
        os.utime(store.folder / key, (i * 60.0, i * 60.0))


@pytest.mark.unit
def test_the_least_recently_used_entries_are_removed_above_the_limit(store: DatasetCache) -> None:
    for key in KEYS[:3]:
        store.fetch(key, content)
    age(store, *KEYS[:3])
    store.fetch(KEYS[0], no_build)  # used just now
    store.limit = 2 * size_of(store, KEYS[0])
    store.fetch(KEYS[3], content)
    assert left(store) == [KEYS[0], KEYS[3]]


@pytest.mark.unit
def test_an_entry_that_is_in_use_is_not_removed(store: DatasetCache, caplog: pytest.LogCaptureFixture) -> None:
    held = store.fetch(KEYS[0], content)
    store.fetch(KEYS[1], content)
    age(store, *KEYS[:2])
    store.limit = 1
    with caplog.at_level(logging.WARNING):
        store.fetch(KEYS[2], content)
    assert left(store) == [KEYS[0], KEYS[2]]
    assert "all in use, and TUNEFLEET_CACHE_GB allows 0.00" in caplog.text
    assert held.splits["train"].to_dict() == rows().to_dict()
    del held
    store.fetch(KEYS[3], content)
    assert left(store) == [KEYS[3]]


@pytest.mark.system
def test_an_entry_in_use_by_another_process_is_not_removed(store: DatasetCache, tmp_path: Path) -> None:
    store.fetch(KEYS[0], content)
    ready, gate = tmp_path / "ready", tmp_path / "gate"
    reader = PROCESSES.Process(target=hold, args=(tmp_path / "cache", ready, gate))
    reader.start()
    try:
        wait_for(ready.exists)
        store.limit = 1
        store.fetch(KEYS[1], content)
        assert left(store) == KEYS[:2]
    finally:
        reader.kill()
        reader.join()
    store.fetch(KEYS[2], content)
    assert left(store) == [KEYS[2]]


def hold(folder: Path, ready: Path, gate: Path) -> None:
    """Another process that uses the first entry until it is killed."""
    entry = DatasetCache(folder, LARGE).fetch(KEYS[0], no_build)
    ready.touch()
    wait_for(gate.exists)
    del entry


@pytest.mark.unit
def test_files_of_others_in_the_folder_are_left_alone(store: DatasetCache) -> None:
    (store.root / "notes.txt").write_text("mine")
    (store.folder / "notes.txt").write_text("mine")
    store.limit = 1
    store.fetch(KEYS[0], content)
    store.fetch(KEYS[1], content)
    assert left(store) == [KEYS[1], "notes.txt"]
    assert (store.root / "notes.txt").exists()


@pytest.mark.unit
def test_the_folders_are_closed_to_other_users(store: DatasetCache) -> None:
    store.fetch(KEYS[0], content)
    for folder in (store.root, store.folder, store.folder / KEYS[0]):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
