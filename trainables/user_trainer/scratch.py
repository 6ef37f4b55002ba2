"""A temporary folder for what a Trainer and its callbacks write, which is removed even if the process is killed.

A killed process removes nothing. So each process holds a lock on its folders, which the system releases with the
process, and whoever creates a new folder removes those that are not locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "tunefleet-trainer-"


class Scratch:
    """A temporary folder on this machine, empty at first; `remove` deletes it."""

    def __init__(self) -> None:
        sweep()
        while (held := _held_new()) is None:
            pass
        self.folder, self._held = held

    def remove(self) -> None:
        """Deletes the folder with its content."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._held)


def _held_new() -> tuple[Path, int] | None:
    """Creates and locks a folder; None if another process swept it before it was locked."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError):  # another process is sweeping it
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if folder.exists():
            return folder, held
    os.close(held)
    return None


def sweep() -> None:
    """Removes the folders of this account's processes that have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError:  # another account's, or removed meanwhile
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(held).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its process lives
            pass
        finally:
            os.close(held)
