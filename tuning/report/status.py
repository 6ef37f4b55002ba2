"""Where a study or an experiment stands: running, interrupted, failed or finished.

A record alone cannot tell a study that runs from one that was killed: only a driver's lock can.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cluster.storage import is_uri
from tuning.outcome import StudyState
from tuning.run_folder.files import LOCK_FILE


class Status(StrEnum):
    """What people are told of a study or an experiment."""

    RUNNING = "running"  # a driver holds the experiment's lock
    INTERRUPTED = "interrupted"  # nobody runs it, and something is left to do; `tunefleet resume` goes on
    FAILED = "failed"  # every trial of a study has failed
    FINISHED = "finished"
    UNFINISHED = "unfinished"  # running or interrupted: its run folder is not here, so nobody can tell


class RecordedStudy(Protocol):
    """A study as it is recorded, whole or in a few figures."""

    @property
    def state(self) -> StudyState:
        """Running also where its driver was killed."""

    @property
    def all_failed(self) -> bool:
        """True if it has trials, and every one of them has failed."""


def has_driver(folder: Path) -> bool:
    """True if a driver of this machine, or one that shares its lock, runs the experiment of that run folder now.

    Nothing is waited for, and nothing written. The lock is tried only where a driver has left its name: one that has
    ended by itself has wiped it out.
    """
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            if not file.read(1):
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or its disk has no locks
        return False
    return False


def find_driver(folder: Path, storage: str) -> bool | None:
    """True if a driver runs the experiment of that run folder now; None where nobody can tell.

    Nobody can of a run in a bucket that no driver of this machine runs: another machine's may.

    Args:
        storage: where the run folders are.
    """
    return has_driver(folder) or (None if is_uri(storage) else False)


def study_status(study: RecordedStudy, driver: bool | None) -> Status:
    """Tells where a study stands.

    Args:
        driver: whether a driver runs its experiment now; None: nobody can tell.
    """
    ended = study.state is StudyState.FINISHED
    if study.all_failed and (ended or not driver):
        return Status.FAILED
    return Status.FINISHED if ended else _unfinished(driver)


def experiment_status(studies: Iterable[RecordedStudy], planned: int, driver: bool | None) -> Status:
    """Tells where an experiment stands.

    Args:
        studies: those that are recorded.
        planned: how many its spec asks for.
        driver: as for `study_status`.
    """
    found = [study_status(study, driver) for study in studies]
    if driver:
        return Status.RUNNING
    if Status.FAILED in found:
        return Status.FAILED
    return Status.FINISHED if found.count(Status.FINISHED) >= max(planned, 1) else _unfinished(driver)


def _unfinished(driver: bool | None) -> Status:
    if driver is None:
        return Status.UNFINISHED
    return Status.RUNNING if driver else Status.INTERRUPTED
