"""A study's folder in a node's shared memory: states stay there until they are copied to the storage path or dropped.

    /dev/shm/tunefleet-<uid>/<key>/<state>/    complete: written under another name, then renamed
    /dev/shm/tunefleet-<uid>/<key>.lock        locked (flock) by every process that uses the folder

The key is derived from the study's folder, so a resumed run finds what a killed one left on the same machine. A folder
that no process has used for an hour is removed by the next process of the same user that opens one here.
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
ABANDONED = 3600.0  # seconds for which what a killed run left here is kept for its resumption
SPARED = 0.5  # fraction of the available memory that states may use: shared memory is memory


class SharedMemory:
    """A study's folder in shared memory, opened by the driver and every slot; `close` or garbage collection unlocks it.

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
        """Calls `write` with an empty folder, then publishes it under `name`; on an error nothing is left."""
        unfinished = self.folder / f".{name}"
        unfinished.mkdir()
        try:
            write(unfinished)
        except BaseException:
            shutil.rmtree(unfinished)
            raise
        unfinished.rename(self.folder / name)

    def find(self, name: str) -> Path | None:
        """The folder of the state `name`; None if it is not in this node's memory."""
        return place if (place := self.folder / name).is_dir() else None

    def names(self) -> set[str]:
        """The names of all complete states."""
        return {place.name for place in self.folder.iterdir() if not place.name.startswith(".")}

    def drop(self, name: str) -> None:
        """Removes a state, if it exists."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove(self) -> None:
        """Removes the folder; called when the study and all its slots have ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.folder.with_suffix(".lock").unlink()
        self.close()

    def close(self) -> None:
        """Releases the lock; the states stay for a run that resumes the study."""
        self._unlock()


def free_memory() -> int:
    """The bytes that states may still use on this node; 0 without shared memory."""
    if not ROOT.is_dir():
        return 0
    return min(shutil.disk_usage(ROOT).free, int(_available() * SPARED))


def _remove_abandoned(root: Path) -> None:
    """Removes the folders of runs that ended without cleaning up and were not resumed for an hour."""
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
    """The user's folder in this node's shared memory; creates it if needed.

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
    """Opens and locks a file; returns its descriptor. If a cleanup removed the file meanwhile, it is created anew.

    Args:
        path: of the lock file.
        how: flags of flock.

    Raises:
        BlockingIOError: with LOCK_NB, another process holds the lock.
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
    """The bytes of memory that are available without swapping."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        yield from file
