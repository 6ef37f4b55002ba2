"""A folder for what a Trainer and its callbacks write: it goes with the trial, also where that is killed.

A process that is killed removes nothing. So each holds a lock on its folders, which the system lets go of with the
process, and whoever makes a new folder removes those that nobody holds.
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
    """An empty folder on this machine, until `remove`."""

    def __init__(self) -> None:
        sweep()
        while (held := _held_new()) is None:
            pass
        self.folder, self._held = held

    def remove(self) -> None:
        """With all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._held)


def _held_new() -> tuple[Path, int] | None:
    """A new folder and a lock on it; None: it was swept by another process before it was held."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        held = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError):  # about to be swept
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if folder.exists():
            return folder, held
    os.close(held)
    return None


def sweep() -> None:
    """Remove the folders of processes that are no more; another account's stay."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        except OSError:  # another's, or gone meanwhile
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(held).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its process lives
            pass
        finally:
            os.close(held)
