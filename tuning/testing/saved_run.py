"""What a killed driver leaves behind, put back after the driver of a simulation has tidied up on its way out."""

from __future__ import annotations

import shutil
from pathlib import Path

from trainables.machine.shared_memory import SharedMemory
from tuning.spec.models import STUDIES


class SavedRun:
    """Copies of a run folder, and of what its studies hold in this node's shared memory, as they are now.

    Args:
        run_folder: of the experiment.
        to: a folder that does not exist yet, for the copies.
    """

    def __init__(self, run_folder: Path, to: Path) -> None:
        studies = [path for path in sorted((run_folder / STUDIES).glob("*")) if path.is_dir()]
        self._copies = {run_folder: to / "run"}
        self._copies |= {_memory_of(study): to / study.name for study in studies}
        for place, copy in self._copies.items():
            _copy(place, copy)

    def put_back(self) -> None:
        """Both are as they were."""
        for place, copy in self._copies.items():
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(copy, place, symlinks=True)


def _memory_of(study: Path) -> Path:
    memory = SharedMemory(study)
    memory.close()
    return memory.folder


def _copy(place: Path, to: Path) -> None:
    """A thread of the driver may be writing: what it renames meanwhile is in the copy as if it had not come to that."""
    try:
        shutil.copytree(place, to, symlinks=True)
    except shutil.Error as error:
        if any(Path(source).exists() for source, *_ in error.args[0]):
            raise
