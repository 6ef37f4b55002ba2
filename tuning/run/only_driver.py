"""One driver per experiment: a lock on its run folder, which the system frees when the driver ends, however it ends.

So a lock that is held is a live one, and a driver that was killed leaves none. What the file says is for whoever is
refused: it holds nothing that is read back.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tuning.run.folder import LOCK_FILE, RunFolderError

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def only_driver(folder: Path, name: str) -> Iterator[None]:
    """In the block no other process runs or resumes the experiment; a folder that is then empty is removed again.

    Args:
        folder: its run folder; made if there is none.
        name: of the experiment.

    Raises:
        RunFolderError: another process does; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / LOCK_FILE
    with place.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        file.write(json.dumps(_own()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            with contextlib.suppress(OSError):
                if list(folder.iterdir()) == [place]:
                    place.unlink()
                    folder.rmdir()


def _own() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = str(os.getuid())
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"process": os.getpid(), "host": socket.gethostname(), "user": user, "since": since}


def _holder(place: Path) -> str:
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        return f"process {told['process']} of {told['user']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError):  # it has just taken the lock
        return "another process"
