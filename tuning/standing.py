"""Where a study or an experiment stands: running, interrupted, failed or finished.

A record alone cannot tell a study that runs from one that was killed: only a driver's lock can.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from cluster.storage import is_uri
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.run.folder import LOCK_FILE


class Standing(StrEnum):
    """What people are told of a study or an experiment."""

    RUNNING = "running"  # a driver holds the experiment's lock
    INTERRUPTED = "interrupted"  # nobody runs it, and something is left to do; `tunefleet resume` goes on
    FAILED = "failed"  # every trial of a study has failed
    FINISHED = "finished"
    UNFINISHED = "unfinished"  # running or interrupted: its run folder is not here, so nobody can tell


def driven(folder: Path) -> bool:
    """Whether a driver of this machine runs the experiment of that run folder now, or one that shares its lock.

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


def driver_of(folder: Path, storage: str) -> bool | None:
    """As `driven`; None of a run in a bucket that no driver of this machine runs: another machine's may."""
    return driven(folder) or (None if is_uri(storage) else False)


def standing_of_study(study: StudyOutcome, driver: bool | None) -> Standing:
    """Where a study stands.

    Args:
        driver: whether a driver runs its experiment now; None: nobody can tell.
    """
    if study.trials and study.count(TrialState.FAILED) == len(study.trials) and not (driver and not _ended(study)):
        return Standing.FAILED
    return Standing.FINISHED if _ended(study) else _unfinished(driver)


def standing_of_experiment(studies: Iterable[StudyOutcome], planned: int, driver: bool | None) -> Standing:
    """Where an experiment stands.

    Args:
        studies: those that are recorded.
        planned: how many its spec asks for.
        driver: as for `standing_of_study`.
    """
    found = [standing_of_study(study, driver) for study in studies]
    if driver:
        return Standing.RUNNING
    if Standing.FAILED in found:
        return Standing.FAILED
    return Standing.FINISHED if found.count(Standing.FINISHED) >= max(planned, 1) else _unfinished(driver)


def _ended(study: StudyOutcome) -> bool:
    return study.state is StudyState.FINISHED


def _unfinished(driver: bool | None) -> Standing:
    if driver is None:
        return Standing.UNFINISHED
    return Standing.RUNNING if driver else Standing.INTERRUPTED
