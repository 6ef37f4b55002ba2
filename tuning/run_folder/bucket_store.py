"""The copy of a run's SQLite store in its bucket: always whole, wherever an upload is interrupted.

    study.db             the newest copy
    study.db.previous    the one before it
    study.db.checksums   SHA-256 of both, and of one that is about to replace the newest
    study.db.upload      an upload in progress; readers use the first two alone

A copy is uploaded under its own name, read back, and put in place by the bucket itself. On the driver's machine,
`study.db.saved` beside the store names the copy that the store continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.capacity import ClusterError
from cluster.storage import cloud_errors, without_credentials
from trainables.machine.disk import sync, write_whole
from tuning.spec.models import STORE_FILE
from tuning.spec.store_url import StoreError
from tuning.store.database import damage_of_sqlite

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

PREVIOUS, CHECKSUMS, UPLOAD, SAVED = ".previous", ".checksums", ".upload", ".saved"
CHECKSUMS_KEPT = 4  # checksums: of the newest and the previous one, with one to come, and one to spare
HEAD = 100  # bytes of SQLite's header: the size of a page at 16, the number of pages at 28
BLOCK = 1 << 24  # bytes that are copied at once

logger = logging.getLogger(__name__)


class StoreCopy(NamedTuple):
    """A whole copy of the store, downloaded to this machine."""

    file: Path
    checksum: str


class BucketStore:
    """The copies of the store of one run.

    Args:
        filesystem: of the bucket.
        folder: of the run, in the bucket.
        uri: of the run, for messages.

    Raises:
        ClusterError: in all methods, the bucket cannot be read or written; says what to do.
    """

    def __init__(self, filesystem: FileSystem, folder: str, uri: str) -> None:
        self._filesystem, self._uri = filesystem, uri
        self._object = f"{folder}/{STORE_FILE}"
        self._newest: str | None = None  # checksum of `study.db` if this process has put it there

    def save(self, store: Path) -> None:
        """Copies the SQLite file to the bucket as it is at this moment, also while it is written to.

        Raises:
            StoreError: the file itself is damaged; the copies in the bucket stay as they are.
        """
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            copy = _backup(store, Path(scratch, STORE_FILE))
            checksum = _checksum(copy)
            if checksum == self._newest:
                return
            known = self._known()
            upload = self._object + UPLOAD
            opened = self._filesystem.open_output_stream
            with cloud_errors(self._uri, "be written"), copy.open("rb") as file, opened(upload) as out:
                shutil.copyfileobj(file, out, BLOCK)
            self._refuse_unless(upload, checksum)
            newest = self._newest or self._whole_newest(known, Path(scratch))
            with cloud_errors(self._uri, "be written"):
                if newest is not None:
                    self._filesystem.copy_file(self._object, self._object + PREVIOUS)
                listed = list(dict.fromkeys(filter(None, (checksum, newest, *known))))[:CHECKSUMS_KEPT]
                with self._filesystem.open_output_stream(self._object + CHECKSUMS) as out:
                    out.write(json.dumps(listed).encode())
                self._filesystem.copy_file(upload, self._object)
                self._filesystem.delete_file(upload)
        self._newest = checksum
        _note(store, checksum)

    def fetch(self, target: Path) -> bool:
        """Puts the newest whole copy at `target`, in one step; returns False if there is none.

        Raises:
            ClusterError: there are copies, and none of them is whole.
        """
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            found = self._newest_whole(self._known(), Path(scratch))
            if found is not None:
                _replace(target, found)
            return found is not None

    def update_working_copy(self, store: Path) -> None:
        """Brings the working copy `store` to the state that a run continues from.

        It stays as it is if it continues the newest copy in the bucket, or if nothing else is whole; else that copy
        replaces it.

        Raises:
            ClusterError: there are copies, and neither one of them nor `store` is whole.
        """
        known = self._known()
        usable = store.is_file() and store.stat().st_size > 0 and damage_of_sqlite(store) is None
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            try:
                found = self._newest_whole(known, Path(scratch))
            except ClusterError as error:
                if not usable:
                    raise
                logger.warning("%s The store on this machine is whole: the run continues from that.", error)
                return
            if found is None or (usable and _noted(store) in (found.checksum, *known[:1])):
                return
            _replace(store, found)

    def _newest_whole(self, known: list[str], scratch: Path) -> StoreCopy | None:
        """Downloads the newest whole copy to `scratch`; returns None if there is no copy at all."""
        damages: list[str] = []
        for name in (self._object, self._object + PREVIOUS):
            file = scratch / "fetched"
            if not self._download(name, file):
                continue
            checksum = _checksum(file)
            if (why := _damage(file, checksum, known)) is None:
                if damages:
                    logger.warning(
                        "%s: not used, but the copy before it. %s", damages[0], without_credentials(self._uri)
                    )
                return StoreCopy(file, checksum)
            damages.append(f"{name} is damaged ({why})")
        if damages:
            raise ClusterError(f"cluster.storage: {without_credentials(self._uri)}: {', and '.join(damages)}.")
        return None

    def _whole_newest(self, known: list[str], scratch: Path) -> str | None:
        """Returns the checksum of `study.db`, which another process has written; None if it is not whole, so not worth
        keeping.
        """
        file = scratch / "newest"
        if not self._download(self._object, file):
            return None
        checksum = _checksum(file)
        return checksum if _damage(file, checksum, known) is None else None

    def _download(self, name: str, file: Path) -> bool:
        """Downloads an object; returns False if there is none."""
        with cloud_errors(self._uri, "be read"):
            try:
                with self._filesystem.open_input_stream(name) as source, file.open("wb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
            except FileNotFoundError:
                return False
        return True

    def _refuse_unless(self, name: str, checksum: str) -> None:
        """Checks that the object `name` has that SHA-256.

        Raises:
            ClusterError: it is not what was written.
        """
        digest = hashlib.sha256()
        with cloud_errors(self._uri, "be read"), self._filesystem.open_input_stream(name) as source:
            while block := source.read(BLOCK):
                digest.update(block)
        if digest.hexdigest() != checksum:
            raise ClusterError(
                f"cluster.storage: {without_credentials(self._uri)} gives back other bytes than were written. Is it a "
                "cache? The copy of the study store that lies there stays as it is."
            )

    def _known(self) -> list[str]:
        """Returns the checksums in the bucket, newest first; empty for runs of older versions, which wrote none."""
        with cloud_errors(self._uri, "be read"):
            try:
                with self._filesystem.open_input_stream(self._object + CHECKSUMS) as source:
                    listed = json.loads(source.read())
            except (FileNotFoundError, ValueError):  # the list is missing or incomplete: SQLite's own check remains
                return []
        return [str(checksum) for checksum in listed] if isinstance(listed, list) else []


def _backup(store: Path, copy: Path) -> Path:
    """Copies the store with SQLite's own backup, and checks the copy.

    Raises:
        StoreError: the store is damaged.
    """
    try:
        with contextlib.closing(sqlite3.connect(store)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"study store {store}: damaged: {error}. The copy in the bucket stays as it is") from error
    if (why := damage_of_sqlite(copy)) is not None:
        raise StoreError(f"study store {store}: damaged: {why}. The copy in the bucket stays as it is")
    return copy


def _damage(file: Path, checksum: str, known: list[str]) -> str | None:
    """Returns why a copy from the bucket is not whole; None if it is."""
    with file.open("rb") as opened:
        head = opened.read(HEAD)
    if len(head) < HEAD:  # SQLite reads an empty file as a database without tables, and ignores a lost last byte
        return "it is cut off"
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    size = file.stat().st_size
    if size != pages * (page if page > 1 else 65536):
        return f"it is cut off, {size} bytes"
    if known and checksum not in known:
        return f"checksum differs, {size} bytes"
    return damage_of_sqlite(file)


def _replace(store: Path, found: StoreCopy) -> None:
    """Replaces the store by a copy, and deletes SQLite's files beside it, which it would replay into the copy."""
    store.parent.mkdir(parents=True, exist_ok=True)
    unfinished = store.with_name(f".{store.name}.fetched")
    shutil.copyfile(found.file, unfinished)
    sync(unfinished)
    for name in _beside(store):
        store.with_name(name).unlink(missing_ok=True)
    unfinished.replace(store)
    _note(store, found.checksum)


def _beside(store: Path) -> Iterator[str]:
    """Yields the names of the files beside the store that belong to its old content."""
    yield store.name + SAVED
    yield from (f"{store.name}-{kind}" for kind in ("journal", "wal", "shm"))


def _note(store: Path, checksum: str) -> None:
    write_whole(store.with_name(store.name + SAVED), checksum.encode())


def _noted(store: Path) -> str | None:
    try:
        return store.with_name(store.name + SAVED).read_text(errors="replace")
    except FileNotFoundError:
        return None


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
