"""File-system helpers for folders that several processes share: locks, crash-safe writes, permissions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO


def lock(path: Path, *, wait: bool) -> BinaryIO | None:
    """Opens `path`, locked exclusively until closed; with `wait` false, None if another process holds the lock."""
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        # If the last holder removed the file, this lock is on a file without a name and excludes nobody: try again.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def make_closed(folder: Path) -> None:
    """Creates `folder`, if it does not exist, closed to other accounts: who may read a file may also lock it.

    If its parent has the setgid bit, by which a group shares what is created there, the group keeps its access.

    Raises:
        OSError: it cannot be created.
    """
    make_parents(folder)
    shared = folder.parent.stat().st_mode & stat.S_ISGID
    folder.mkdir(mode=0o770 if shared else 0o700, exist_ok=True)


def make_parents(path: Path) -> None:
    """Creates the parent folders of `path`, none of them writable for all, whatever the umask.

    An account that can write into a folder could replace what is in it.

    Raises:
        OSError: a folder cannot be created.
    """
    for parent in [parent for parent in path.parents if not parent.exists()][::-1]:
        parent.mkdir(mode=0o775, exist_ok=True)


def owner_of(folder: Path) -> int | None:
    """The uid of the account that owns `folder`; None if that is this account or root.

    A file is created to learn this account's uid on that file system: a network disk may map accounts.

    Raises:
        OSError: the folder cannot be written.
    """
    with TemporaryFile(dir=folder) as file:
        own = os.fstat(file.fileno()).st_uid
    return None if (owner := folder.stat().st_uid) in (own, 0) else owner


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flushes a folder, everything in it and its own name to the disk."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        sync(path)


def write_whole(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically: readers find the new or the old content, also after a machine crash."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)
