"""Saves what a killed driver leaves behind, and restores it after the simulated driver has cleaned up at its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from trainables.machine.shared_memory import SharedMemory
from tuning.spec.models import STUDIES


class SavedRun:
    """Copies of a run folder, and of its studies' states in this node's shared memory, as they are now.

    Args:
        run_folder: of the experiment.
        to: a folder that does not exist yet, for the copies.
    """

    def __init__(self, run_folder: Path, to: Path) -> None:
        studies = [path for path in sorted((run_folder / STUDIES).glob("*")) if path.is_dir()]
        self._copies = {run_folder: to / "run"}
        self._copies |= {_memory_of(study): to / study.name for study in studies}
        for folder, copy in self._copies.items():
            _copy(folder, copy)

    def restore(self) -> None:
        """Restores the run folder and the shared memory."""
        for folder, copy in self._copies.items():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(copy, folder, symlinks=True)


def _memory_of(study: Path) -> Path:
    memory = SharedMemory(study)
    memory.close()
    return memory.folder


def _copy(folder: Path, to: Path) -> None:
    """Copies a folder that a thread of the driver may write to; files that it renames meanwhile may be left out."""
    try:
        shutil.copytree(folder, to, symlinks=True)
    except shutil.Error as error:
        if any(Path(source).exists() for source, *_ in error.args[0]):
            raise
