"""A study's folder in the memory of one node: states lie there until they are copied to the storage path or given up.

    /dev/shm/tunefleet-<uid>/<key>/<state>/    complete: written under another name, then renamed
    /dev/shm/tunefleet-<uid>/<key>.lock        held (flock) by every process that uses the folder

The key follows from the study's folder, so a run that is resumed on the same machine finds what a killed one left. What
no living process has held for an hour is removed by the next process of the same user that opens a folder here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/dev/shm")
ABANDONED = 3600.0  # seconds for which a killed run may be resumed with what it left here
SPARED = 0.5  # of the free memory that states may take at most: what lies in shared memory is memory


class SharedMemory:
    """Opened by the driver and by every slot; the lock is given up with `close`, or when nobody holds this any more.

    Args:
        study: the study's folder on the storage path.

    Raises:
        OSError: there is no shared memory here, or the user's folder in it belongs to somebody else.
    """

    def __init__(self, study: Path) -> None:
        root = own_root()
        self.folder = root / hashlib.sha256(str(study.absolute()).encode()).hexdigest()[:16]
        self._unlock = weakref.finalize(self, os.close, _locked(self.folder.with_suffix(".lock"), fcntl.LOCK_SH))
        self.folder.mkdir(exist_ok=True)
        os.utime(self.folder)
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            _remove_abandoned(root)

    def put(self, name: str, write: Callable[[Path], None]) -> None:
        """`write` is given an empty folder; the state is there under `name` when it returns."""
        unfinished = self.folder / f".{name}"
        unfinished.mkdir()
        try:
            write(unfinished)
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        unfinished.rename(self.folder / name)

    def find(self, name: str) -> Path | None:
        """The state's folder, if it is in this node's memory."""
        return place if (place := self.folder / name).is_dir() else None

    def names(self) -> set[str]:
        """All complete states."""
        return {place.name for place in self.folder.iterdir() if not place.name.startswith(".")}

    def drop(self, name: str) -> None:
        """Give the memory back."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove(self) -> None:
        """Empty the folder and leave it: the study has ended. Every slot has."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.folder.with_suffix(".lock").unlink()
        self.close()

    def close(self) -> None:
        """Give up the lock; what lies there stays for a run that is resumed."""
        self._unlock()


def free_memory() -> int:
    """Bytes that states may take on this node; 0 without shared memory."""
    if not ROOT.is_dir():
        return 0
    return min(shutil.disk_usage(ROOT).free, int(_available() * SPARED))


def _remove_abandoned(root: Path) -> None:
    """Remove the folders of runs that were killed, or whose machine went down, and that nobody has resumed."""
    for path in root.glob("*.lock"):
        folder = path.with_suffix("")
        if folder.exists() and time.time() - folder.stat().st_mtime < ABANDONED:  # it changes with every state
            continue
        with contextlib.suppress(BlockingIOError):
            lock = _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            path.unlink()
            os.close(lock)


def own_root() -> Path:
    """The user's own folder in this node's shared memory, made if need be.

    Raises:
        OSError: there is no shared memory here, or the folder belongs to somebody else.
    """
    root = ROOT / f"tunefleet-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{root} is not a folder that only user {os.getuid()} may enter; remove it")
    return root


def _locked(path: Path, how: int) -> int:
    """The file's descriptor, locked. Who cleans up removes the file under its lock: then a new one is made.

    Raises:
        BlockingIOError: with LOCK_NB, somebody else holds it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _available() -> int:
    """Bytes of memory that can be had without swapping."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        yield from file
