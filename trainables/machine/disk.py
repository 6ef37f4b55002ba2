"""What a store that several processes share wants of the file system: locks, files that survive a crash, checksums."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO


def lock(path: Path, *, wait: bool) -> BinaryIO | None:
    """The open file, locked until it is closed; None if another process has it."""
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
        # Its last holder removed it: a lock on a file without a name keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def make_closed(folder: Path) -> None:
    """Make a folder that no other account may enter, where there is none: who may read a file may hold its locks, too.

    In a folder with the setgid bit, by which a group shares what is made there, the group has what the umask leaves it.

    Raises:
        OSError: it cannot be made.
    """
    make_parents(folder)
    shared = folder.parent.stat().st_mode & stat.S_ISGID
    folder.mkdir(mode=0o770 if shared else 0o700, exist_ok=True)


def make_parents(path: Path) -> None:
    """Make the folders on the way to `path`; none is writable for all, whatever the umask: who can write into one could
    put something else in the place of what lies there.

    Raises:
        OSError: one cannot be made.
    """
    for parent in [parent for parent in path.parents if not parent.exists()][::-1]:
        parent.mkdir(mode=0o775, exist_ok=True)


def owner_of(folder: Path) -> int | None:
    """The account that a folder belongs to; None: this one, or root. Accounts are the file system's own: a network
    disk may call root another.

    Raises:
        OSError: the folder cannot be written.
    """
    with TemporaryFile(dir=folder) as file:
        own = os.fstat(file.fileno()).st_uid
    return None if (owner := folder.stat().st_uid) in (own, 0) else owner


def sync(path: Path) -> None:
    """Return when the file, or the names in the folder, are on the disk and not only on their way."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """The same for a folder, with all that is in it and its own name."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        sync(path)


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path`: a reader finds all of it or what was there before, also after a crash of the machine."""
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


def size_and_crc(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, crc
