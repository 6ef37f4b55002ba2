"""Stores the files of shipped objects and data sets, in a folder below the storage of runs or in a bucket.

Every file is named by its content, so a file that exists is the right one, and two drivers that write it at the same
time write the same bytes. Each node keeps copies of what it has read from a bucket. A search renews the files it uses,
so that the removal of another experiment does not delete them (`tuning.run_folder.shipped_removal`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import xxhash

from trainables.data.cache_folder import cache_folder, private_folder
from trainables.errors import InputError
from trainables.machine.disk import make_closed, owner_of, sync

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

FOLDER = ".shipped"  # below the storage
USED = ".used"  # suffix of an empty object in a bucket whose modification time is that of the last use
BLOCK = 1 << 24  # bytes copied at once

Writer = Callable[[BinaryIO], None]


class FileStatus(NamedTuple):
    """Size and last use of a file."""

    size: int  # bytes
    used: float  # when it was written or renewed, in seconds since 1970


@dataclass(frozen=True)
class ShippedFiles:
    """The files of one storage, all in one folder.

    Args:
        folder: an absolute path, or the URI of a folder in a bucket, with its options.
    """

    folder: str

    @classmethod
    def below(cls, storage: str) -> ShippedFiles:
        """The files of the storage of runs at `storage`: a folder, or a bucket's URI."""
        if "://" in storage:
            parts = urlsplit(storage)
            return cls(parts._replace(path=f"{parts.path.rstrip('/')}/{FOLDER}").geturl())
        return cls(str(Path(storage).expanduser().absolute() / FOLDER))

    @classmethod
    def around(cls, file: str) -> tuple[ShippedFiles, str]:
        """The files in whose folder `file` (a path or URI) is, and its name."""
        if "://" in file:
            parts = urlsplit(file)
            folder, _, name = parts.path.rpartition("/")
            return cls(parts._replace(path=folder).geturl()), name
        return cls(os.path.dirname(file)), os.path.basename(file)

    def at(self, name: str) -> str:
        """The path or URI of a file."""
        if not self.in_bucket:
            return str(Path(self.folder, name))
        parts = urlsplit(self.folder)
        return parts._replace(path=f"{parts.path}/{name}").geturl()

    @property
    def in_bucket(self) -> bool:
        """True if the files are in a bucket."""
        return "://" in self.folder

    def has(self, name: str) -> bool:
        """True if the file exists; it is then complete."""
        if not self.in_bucket:
            return Path(self.folder, name).is_file()
        filesystem, folder = self._opened()
        return bool(filesystem.get_file_info(f"{folder}/{name}").is_file)

    def renew(self, name: str) -> bool:
        """Sets the time of the last use to now; returns False if the file does not exist.

        Raises:
            OSError: the bucket cannot be written.
        """
        if not self.in_bucket:
            with contextlib.suppress(
                FileNotFoundError, PermissionError
            ):  # another account's file is refused when it is read
                os.utime(Path(self.folder, name))
            return self.has(name)
        if found := self.has(name):
            self.write(f"{name}{USED}", lambda file: None)
        return found

    def stated(self, names: Iterable[str]) -> dict[str, FileStatus]:
        """Returns size and last use of those files that exist, by name.

        Raises:
            OSError: the bucket cannot be read.
        """
        if not self.in_bucket:
            paths = [path for name in names if (path := Path(self.folder, name)).is_file()]
            return {path.name: FileStatus(path.stat().st_size, path.stat().st_mtime) for path in paths}
        filesystem, folder = self._opened()
        found = {}
        for name in names:
            itself, mark = filesystem.get_file_info([f"{folder}/{name}", f"{folder}/{name}{USED}"])
            if itself.is_file:
                used = max(info.mtime.timestamp() for info in (itself, mark) if info.is_file)
                found[name] = FileStatus(itself.size, used)
        return found

    def remove(self, name: str, since: float) -> None:
        """Removes a file, unless it was used after `since`; in a folder this is safe against a concurrent `renew`.

        Args:
            name: of the file.
            since: seconds since 1970.

        Raises:
            OSError: the file cannot be removed.
        """
        if (stated := self.stated([name]).get(name)) is None or stated.used > since:
            return
        if self.in_bucket:
            filesystem, folder = self._opened()
            for one in (f"{folder}/{name}", f"{folder}/{name}{USED}"):
                if filesystem.get_file_info(one).is_file:
                    filesystem.delete_file(one)
            return
        path, aside = Path(self.folder, name), Path(self.folder, f".{name}.{uuid.uuid4().hex}")
        path.rename(aside)  # now nobody else finds it
        if aside.stat().st_mtime > since:
            aside.rename(path)
        else:
            aside.unlink()

    def write(self, name: str, writer: Writer) -> None:
        """Writes a file, all or nothing; when this returns, the file survives a crash of the machine.

        Args:
            name: of the file.
            writer: writes the content to a binary file.

        Raises:
            OSError: the file cannot be written.
        """
        if self.in_bucket:
            filesystem, folder = self._opened()
            with filesystem.open_output_stream(f"{folder}/{name}") as target:
                writer(target)
            return
        make_closed(Path(self.folder))
        _written(Path(self.folder), name, writer)

    def local(self, name: str) -> Path:
        """Returns a local path of the file: the file itself, or this node's copy of a bucket's.

        Raises:
            InputError: the file does not exist, or belongs to another account.
            OSError: it cannot be read.
        """
        path = Path(self.folder, name)
        if self.in_bucket:
            kept = private_folder(cache_folder(), "shipped", xxhash.xxh3_64_hexdigest(self.folder.encode()))
            path = kept / name
            if not path.is_file():
                filesystem, folder = self._opened()
                with filesystem.open_input_stream(f"{folder}/{name}") as source:
                    _written(kept, name, lambda file: shutil.copyfileobj(source, file, BLOCK))
        _refuse_foreign(path)
        return path

    def _opened(self) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem

        filesystem, path = FileSystem.from_uri(self.folder)
        return filesystem, path.rstrip("/")


def _written(folder: Path, name: str, writer: Writer) -> None:
    unfinished = folder / f".{name}.{uuid.uuid4().hex}"
    try:
        with unfinished.open("xb") as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / name)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(folder)


def _refuse_foreign(path: Path) -> None:
    """Refuses a file of another account, because unpickling runs what that account wrote.

    Raises:
        InputError: it is another account's, or does not exist.
    """
    try:
        owner = path.stat().st_uid
    except FileNotFoundError as error:
        step = "run the search again; or, on a cluster, set `storage` to a folder that every node reaches"
        raise InputError("trainable", str(path), "there is no such file on this machine", step) from error
    if owner not in (os.geteuid(), 0) and owner_of(path.parent) is not None:  # a network disk may map accounts
        rule = f"belongs to another account (uid {owner}), and to load it is to run what that account has written"
        raise InputError("trainable", str(path), rule, "run the search again from your own account")
