"""A node's cache of tokenised splits: built once on its disk, then memory-mapped by every process.

The cache is a folder. An entry is a folder in it, named by a key that covers everything its content depends on:

    KEY/train.arrow ...   one Arrow stream per split
    KEY/facts.json        other results of building the entry
    KEY/manifest.json     size and XXH3 hash of the files above
    KEY.lock              locked by the process that builds KEY; the others wait for it
    KEY.building/         its work, renamed to KEY once it is complete and on the disk

Locks are flock(2)'s, which the kernel releases when a process dies; the next builder removes what a killed one left.
A process that uses an entry holds a shared lock on its manifest, so that no other process evicts it. The folder should
be on a local disk of the node: over NFS all this is as reliable as its locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from trainables.checksums import file_checksum
from trainables.data.cache_folder import FOLDER_VARIABLE, LIMIT_VARIABLE, CacheError, private_folder
from trainables.machine.disk import lock, sync

if TYPE_CHECKING:
    from datasets import Dataset

MANIFEST, FACTS, SPLIT = "manifest.json", "facts.json", ".arrow"
KEY = re.compile(r"[0-9a-f]{64}")
FILES: TypeAdapter[dict[str, tuple[int, str]]] = TypeAdapter(dict[str, tuple[int, str]])  # name: bytes, hash

logger = logging.getLogger(__name__)


class DamagedEntry(Exception):
    """The files of an entry differ from what its builder wrote."""


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """An open entry. While this object lives, no process removes the entry from the disk."""

    splits: Mapping[str, Dataset]  # memory-mapped
    facts: Mapping[str, Any]  # JSON


@dataclass(frozen=True)
class CacheContent:
    """The content of an entry to be written."""

    splits: Mapping[str, Dataset]
    facts: Mapping[str, Any]  # JSON


class DatasetCache:
    """The entries below `folder`; the least recently used are removed when they exceed `limit` bytes.

    Raises:
        CacheError: the folder cannot be created, or is open to other accounts.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.root, self.limit = folder, limit
        self.folder = folder / "tokens"
        with self._usable():
            private_folder(folder, self.folder.name)

    def fetch(self, key: str, build: Callable[[], CacheContent]) -> CacheEntry:
        """Opens the entry of that key; builds it if it is missing or damaged.

        If several processes need the entry, one builds it and the others wait. Errors of `build` are raised as they
        are, and leave no entry.

        Args:
            key: 64 hex digits.
            build: returns the content; called at most once.

        Raises:
            CacheError: the folder cannot be written, or its file system has no locks.
        """
        with contextlib.suppress(FileNotFoundError, DamagedEntry):
            return self._open(key)
        with self._locked(key):
            try:
                return self._open(key)
            except FileNotFoundError:
                pass
            except DamagedEntry as damage:
                logger.warning("%s is damaged and built again: %s", self.folder / key, damage)
            self._build(key, build)
            entry = self._open(key)
        with self._usable():
            self._evict(keep=key)
        return entry

    def _open(self, key: str) -> CacheEntry:
        """Opens and verifies an entry.

        Raises:
            FileNotFoundError: there is no such entry.
            DamagedEntry: a file is missing or has changed.
        """
        from datasets import Dataset

        folder = self.folder / key
        try:
            descriptor = os.open(folder / MANIFEST, os.O_RDONLY)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DamagedEntry(str(error)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            files = FILES.validate_json((folder / MANIFEST).read_bytes())
            for name, expected in files.items():
                if file_checksum(folder / name) != expected:
                    raise DamagedEntry(f"{name} has changed")
            if FACTS not in files:
                raise DamagedEntry(f"{MANIFEST} does not name {FACTS}")
            facts = json.loads((folder / FACTS).read_bytes())
            names = [name.removesuffix(SPLIT) for name in files if name.endswith(SPLIT)]
            entry = CacheEntry({name: Dataset.from_file(str(folder / f"{name}{SPLIT}")) for name in names}, facts)
            os.utime(folder)  # the time of the last use, for eviction
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError | ValueError):  # pydantic's, json's and Arrow's are ValueErrors
                raise DamagedEntry(" ".join(str(error).split())) from error
            raise
        weakref.finalize(entry, os.close, descriptor)
        return entry

    def _build(self, key: str, build: Callable[[], CacheContent]) -> None:
        work, final = self.folder / f"{key}.building", self.folder / key
        with self._usable():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(mode=0o700)
        try:
            content = build()
            with self._usable():
                _write(work, content)
                if final.exists():
                    self._remove(final)
                work.rename(final)
                sync(self.folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _evict(self, keep: str) -> None:
        """Removes what killed processes left, then the least recently used entries until the limit is kept."""
        for path in self.folder.iterdir():
            if path.suffix == ".removed":
                shutil.rmtree(path, ignore_errors=True)
            elif path.suffix in (".lock", ".building") and (file := lock(path.with_suffix(".lock"), wait=False)):
                with file:
                    shutil.rmtree(path.with_suffix(".building"), ignore_errors=True)
                    path.with_suffix(".lock").unlink()
        used = [(_last_use(path), _size(path), path) for path in self.folder.iterdir() if KEY.fullmatch(path.name)]
        total = sum(size for _, size, _ in used)
        for _, size, path in sorted(used):
            if total > self.limit and path.name != keep and self._remove_unused(path):
                total -= size
        if total > self.limit:
            rest = "%s holds %.2f GB, all in use, and %s allows %.2f"
            logger.warning(rest, self.folder, total / 1e9, LIMIT_VARIABLE, self.limit / 1e9)

    def _remove_unused(self, entry: Path) -> bool:
        """Removes an entry unless it is being built, waited for or used; returns True if it is gone."""
        busy = entry.with_suffix(".lock")
        if not (file := lock(busy, wait=False)):
            return False
        with file:
            gone = self._remove_unread(entry)
            busy.unlink()
        return gone

    def _remove_unread(self, entry: Path) -> bool:
        try:
            with (entry / MANIFEST).open("r+b") as file:  # over NFS an exclusive lock needs a file open for writing
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove(entry)
        except BlockingIOError:
            return False
        except FileNotFoundError:  # another process was faster, or the entry was never complete
            shutil.rmtree(entry, ignore_errors=True)
        return True

    def _remove(self, entry: Path) -> None:
        """Removes an entry; renames it first, so that nobody opens half of it. Mappings of its files stay valid."""
        away = entry.with_name(f"{entry.name}.{os.getpid()}-{time.monotonic_ns()}.removed")
        entry.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        path = self.folder / f"{key}.lock"
        with self._usable():
            file = lock(path, wait=False)
            if file is None:
                logger.info("waiting for the process that tokenises the same data: %s", path)
                file = lock(path, wait=True)
        assert file is not None
        with file:
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Converts an OSError of the block into a CacheError that names the variable to set."""
        try:
            yield
        except OSError as error:
            rule = f"cannot hold the tokenised data: {error.strerror or error}"
            step = f"set {FOLDER_VARIABLE} on this node to a folder on a local disk, writable and with room"
            raise CacheError(FOLDER_VARIABLE, str(self.root), rule, step) from error


def _write(folder: Path, content: CacheContent) -> None:
    """Writes the files of an entry, the manifest last, and syncs them to the disk."""
    import pyarrow as pa

    for name, split in content.splits.items():
        table = split.with_format("arrow")[:].replace_schema_metadata(split.features.arrow_schema.metadata)
        with pa.OSFile(str(folder / f"{name}{SPLIT}"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    (folder / FACTS).write_text(json.dumps(content.facts), encoding="utf-8")
    (folder / MANIFEST).write_bytes(FILES.dump_json({path.name: file_checksum(path) for path in folder.iterdir()}))
    for path in (*folder.iterdir(), folder):
        sync(path)


def _last_use(entry: Path) -> float:
    with contextlib.suppress(FileNotFoundError):  # evicted by another process meanwhile
        return entry.stat().st_mtime
    return 0.0


def _size(entry: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in entry.iterdir())
    return 0
