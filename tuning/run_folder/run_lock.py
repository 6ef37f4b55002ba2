"""One driver per experiment: a lock on its run folder, which the system frees when the driver ends, however it ends.

So a lock that is held is a live one, and a driver that was killed leaves none. What the file says is for whoever is
refused: it holds nothing that is read back.
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
    """Keep other processes from running the experiment in the block, also those of machines that share its folder.

    A folder that is then empty is removed again. Gives a name that no other lock of this machine has while it is up;
    None where the file system has no locks.

    Args:
        folder: its run folder; made, closed to other accounts, if there is none.
        name: of the experiment.

    Raises:
        RunFolderError: another process does; says which.
    """
    make_closed(folder)
    place = folder / LOCK_FILE
    with open(place, "a+", encoding="utf-8", opener=_no_link) as file:
        lock: str | None = None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock = _lock_id(file.fileno())
        except BlockingIOError:
            raise RunFolderError(
                f"name: {name}: {folder} is in use by {_holder(place)}. Wait for it, stop it (Ctrl-C there), or choose "
                "another name (name=...)"
            ) from None
        except OSError as error:  # a network disk without locks
            logger.warning(
                "%s cannot be locked (%s): see to it that no second driver runs %s.", folder, error.strerror, name
            )
        file.truncate(0)
        file.write(json.dumps(this_driver()))
        file.flush()
        try:
            yield lock
        finally:
            file.truncate(0)
            with contextlib.suppress(OSError):
                if list(folder.iterdir()) == [place]:
                    place.unlink()
                    folder.rmdir()


def _no_link(path: str, flags: int) -> int:
    """Opens the lock; who can write the folder could have made it a link to a file that is then emptied."""
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
    """A name of the lock file among all of this machine since it was started."""
    found = os.fstat(lock)
    return f"{BOOT.read_text().strip() if BOOT.exists() else socket.gethostname()}:{found.st_dev}:{found.st_ino}"


def _holder(place: Path) -> str:
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        return f"process {told['process']} of {told['user']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError):  # it has just taken the lock
        return "another process"
