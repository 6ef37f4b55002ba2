"""Allows one driver per experiment, by a lock on its run folder that the system releases when the driver ends.

So a held lock means a running driver, and a driver that was killed leaves none. The content of the lock file names the
driver for error messages; nothing else reads it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from cluster.nodes.listeners import own_account
from cluster.nodes.processes import BOOT
from trainables.machine.disk import make_closed
from tuning.errors import RunFolderError
from tuning.run_folder.files import LOCK_FILE

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def run_lock(folder: Path, name: str) -> Iterator[str | None]:
    """Holds the lock of an experiment in the block, also against drivers on other machines that share its folder.

    A folder that is empty at the end is removed. Yields an id that is unique among the locks of this machine since its
    start; None if the file system has no locks.

    Args:
        folder: its run folder; created, closed to other accounts, if there is none.
        name: of the experiment.

    Raises:
        RunFolderError: another process holds it; names it.
    """
    make_closed(folder)
    path = folder / LOCK_FILE
    with locked_file(path, name, str(folder)) as lock:
        try:
            yield lock
        finally:
            with contextlib.suppress(OSError):
                if list(folder.iterdir()) == [path]:
                    path.unlink()
                    folder.rmdir()


@contextlib.contextmanager
def locked_file(path: Path, name: str, place: str) -> Iterator[str | None]:
    """Holds a lock file in the block; it names this process meanwhile. Yields what `run_lock` yields.

    Args:
        path: of the file; created if there is none.
        name: of the experiment.
        place: what is locked by it, for messages.

    Raises:
        RunFolderError: another process holds it; names it.
    """
    with open(path, "a+", encoding="utf-8", opener=_no_link) as file:
        lock: str | None = None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock = _lock_id(file.fileno())
        except BlockingIOError:
            raise RunFolderError(in_use(name, place, _holder(path))) from None
        except OSError as error:  # a network disk without locks
            logger.warning(
                "%s cannot be locked (%s): make sure that no second driver runs %s.", place, error.strerror, name
            )
        file.truncate(0)
        file.write(json.dumps(this_driver()))
        file.flush()
        try:
            yield lock
        finally:
            file.truncate(0)


def in_use(name: str, place: str, holder: str) -> str:
    """Returns the refusal of a second driver, with the next step.

    Args:
        name: of the experiment.
        place: what the first one holds.
        holder: the first one.
    """
    return (
        f"name: {name}: {place} is in use by {holder}. Wait for it, stop it (Ctrl-C there), or choose another name "
        "(name=...)"
    )


def _no_link(path: str, flags: int) -> int:
    """Opens the lock file, but no link: somebody could let it lead to another file, which would be emptied."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o660)  # who may read it may hold the lock
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RunFolderError(
            f"{path} is a symbolic link, and what it leads to would be emptied. See who made it, and remove it"
        ) from error


class Driver(TypedDict):
    """A process that runs an experiment."""

    process: int
    host: str
    user: str
    since: str


def this_driver() -> Driver:
    """Describes this process, for whoever is refused because of it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"process": os.getpid(), "host": socket.gethostname(), "user": own_account(), "since": since}


def _lock_id(lock: int) -> str:
    """Returns an id of the lock file that is unique on this machine since its start."""
    found = os.fstat(lock)
    return f"{BOOT.read_text().strip() if BOOT.exists() else socket.gethostname()}:{found.st_dev}:{found.st_ino}"


def _holder(path: Path) -> str:
    """Describes the process that holds the lock."""
    try:
        return describe_driver(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):  # it has just taken the lock
        return "another process"


def describe_driver(driver: Driver) -> str:
    """Describes a process that runs an experiment, for whoever is refused because of it."""
    return f"process {driver['process']} of {driver['user']} on {driver['host']}, since {driver['since']}"
