"""The status of a study or experiment: running, interrupted, failed or finished.

The records of a running study and of a killed one look the same; only the lock of a driver distinguishes them.
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
    """The status of a study or experiment, as commands print it."""

    RUNNING = "running"  # a driver holds the experiment's lock
    INTERRUPTED = "interrupted"  # no driver runs it and it is not finished; `tunefleet resume` continues it
    FAILED = "failed"  # every trial of a study has failed
    FINISHED = "finished"
    UNFINISHED = "unfinished"  # running or interrupted; unknown, since its run folder is on another machine


class RecordedStudy(Protocol):
    """A recorded study: its outcome or its summary."""

    @property
    def state(self) -> StudyState:
        """RUNNING also if its driver was killed."""

    @property
    def all_failed(self) -> bool:
        """True if it has trials, and every one of them has failed."""


def has_driver(folder: Path) -> bool:
    """Returns True if a driver that shares this machine's locks runs the experiment of a run folder now.

    It neither waits nor writes. The lock is tried only if the lock file names a driver, which a driver that ended by
    itself has removed.
    """
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            if not file.read(1):
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no file, or the disk has no locks
        return False
    return False


def find_driver(folder: Path, storage: str) -> bool | None:
    """Returns True if a driver runs the experiment of a run folder now; None if that is unknown.

    It is unknown for a run in a bucket without a driver on this machine: another machine may run it.

    Args:
        folder: the run folder.
        storage: path or URI that holds the run folders.
    """
    return has_driver(folder) or (None if is_uri(storage) else False)


def study_status(study: RecordedStudy, driver: bool | None) -> Status:
    """Returns the status of a study.

    Args:
        study: as recorded.
        driver: True if a driver runs its experiment now; None: unknown.
    """
    ended = study.state is StudyState.FINISHED
    if study.all_failed and (ended or not driver):
        return Status.FAILED
    return Status.FINISHED if ended else _unfinished(driver)


def experiment_status(studies: Iterable[RecordedStudy], planned: int, driver: bool | None) -> Status:
    """Returns the status of an experiment.

    Args:
        studies: the recorded ones.
        planned: number of studies in its spec.
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
