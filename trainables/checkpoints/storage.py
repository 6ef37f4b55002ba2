"""Where the checkpoints of a study lie, and the durable copies of their states: a folder, or one in a bucket.

A path is Tune's own name of a checkpoint's folder: absolute where it is a folder, BUCKET/FOLDER/... in a bucket. A copy
is complete or absent, in either.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full, token_of, weights
from trainables.machine.disk import sync, write_whole

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Storage(Protocol):
    """Of one study. Pickles: the driver, the slots and tasks on other nodes have one each.

    Everything raises OSError where the storage cannot be read or written.
    """

    @property
    def filesystem(self) -> FileSystem | None:
        """For Tune; None: this machine's."""

    @property
    def scheme(self) -> str:
        """In front of a path where users see it."""

    def recipe(self, path: str) -> CheckpointManifest | None:
        """Of the checkpoint; None if it is not there, or a custom function's own."""

    def exists(self, path: str) -> bool:
        """Whether the checkpoint is there."""

    def checkpoints(self, study: str) -> list[str]:
        """The paths of all checkpoints below Tune's folder of the study."""

    def checkpoints_of(self, trial: str) -> list[str]:
        """The paths of all checkpoints in Tune's folder of a trial, in order; that may not be there."""

    def files(self, folder: str, pattern: str) -> list[str]:
        """The paths of the files in a folder that match, by name; none if there is no such folder."""

    def read(self, path: str) -> bytes:
        """A file, all of it."""

    def write(self, path: str, data: bytes) -> None:
        """A file, all or nothing: when it returns it outlives a crash. Its folder is made."""

    def remove(self, path: str) -> None:
        """A file; it may be gone already."""

    def delete(self, path: str, recipe: CheckpointManifest | None) -> None:
        """The checkpoint with the copies of its states. It may be gone already."""

    def delete_other_states(self, path: str, recipe: CheckpointManifest) -> None:
        """What an earlier checkpoint has left in the same folder."""

    def holds(self, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> bool:
        """Whether a copy of its state is there, or of a fuller one."""

    def put(self, source: Path, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> None:
        """Copy the state in the local folder `source`; when it returns, all of it is there."""

    def strip(self, path: str, recipe: CheckpointManifest) -> None:
        """Leave of the copies what scoring needs, beside the recipe."""

    def strip_early(self, path: str, recipe: CheckpointManifest) -> bool:
        """The same while the study runs, where that is cheap; whether it was done."""

    def finish(self) -> None:
        """The study has ended: of the states only what is beside a recipe stays."""

    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        """The state with moments, as a local folder.

        Args:
            folder: of the checkpoint, as Tune gives it to a slot: downloaded, where it lies in a bucket.
            scratch: to download the state into.
            anywhere: it may be another checkpoint's of the study.
        """

    def scorable(self, path: str, recipe: CheckpointManifest | None, scratch: Path) -> Path | None:
        """The weights of the checkpoint, as a local folder. Without a recipe, all of a custom function's own files."""


@dataclass(frozen=True)
class FolderStorage:
    """A folder that every node reaches. A state's copy lies beside its recipe, under its own name."""

    filesystem = None
    scheme = ""

    def recipe(self, path: str) -> CheckpointManifest | None:
        """See `Storage`."""
        return CheckpointManifest.found(path, lambda name: Path(path, name).read_bytes())

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        return Path(path).exists()

    def checkpoints(self, study: str) -> list[str]:
        """See `Storage`."""
        return [str(folder) for folder in Path(study).glob("*/checkpoint_*")]

    def checkpoints_of(self, trial: str) -> list[str]:
        """See `Storage`."""
        return sorted(str(folder) for folder in Path(trial).glob("checkpoint_*"))

    def files(self, folder: str, pattern: str) -> list[str]:
        """See `Storage`."""
        return sorted(str(path) for path in Path(folder).glob(pattern) if path.is_file())

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        return Path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """See `Storage`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), data)

    def remove(self, path: str) -> None:
        """See `Storage`."""
        Path(path).unlink(missing_ok=True)

    def delete(self, path: str, recipe: CheckpointManifest | None) -> None:
        """See `Storage`."""
        if Path(path).exists():
            shutil.rmtree(path)

    def delete_other_states(self, path: str, recipe: CheckpointManifest) -> None:
        """See `Storage`."""
        for folder in Path(path).iterdir():
            if folder.is_dir() and token_of(folder.name) != recipe.token:
                shutil.rmtree(folder)

    def holds(self, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> bool:
        """See `Storage`."""
        names = (weights(recipe.token), full(recipe.token)) if weights_only else (full(recipe.token),)
        return any(Path(path, name).is_dir() for name in names)

    def put(self, source: Path, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> None:
        """See `Storage`. Written under another name, synced, renamed."""
        name = (weights if weights_only else full)(recipe.token)
        unfinished = Path(path, f".{name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for file in files_of(source, weights_only=weights_only):
            shutil.copyfile(file, unfinished / file.name)
            sync(unfinished / file.name)
        sync(unfinished)
        unfinished.rename(Path(path, name))
        sync(Path(path))

    def strip(self, path: str, recipe: CheckpointManifest) -> None:
        """See `Storage`."""
        whole, stripped = Path(path, full(recipe.token)), Path(path, weights(recipe.token))
        if whole.is_dir() and not stripped.is_dir():
            whole.rename(stripped)
        elif whole.is_dir():
            shutil.rmtree(whole)
        (stripped / MOMENTS).unlink(missing_ok=True)

    def strip_early(self, path: str, recipe: CheckpointManifest) -> bool:
        """See `Storage`. A file system takes a new name at once."""
        self.strip(path, recipe)
        return True

    def finish(self) -> None:
        """See `Storage`. All copies lie beside their recipes."""

    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        """See `Storage`. Used where it lies."""
        if (own := folder / full(token)).is_dir():
            return own
        return next(folder.parent.parent.glob(f"*/*/{full(token)}"), None) if anywhere else None

    def scorable(self, path: str, recipe: CheckpointManifest | None, scratch: Path) -> Path | None:
        """See `Storage`. Used where it lies."""
        names = ("",) if recipe is None else (weights(recipe.token), full(recipe.token))
        return next((place for name in names if (place := Path(path, name)).is_dir()), None)


FOLDERS = FolderStorage()


def files_of(state: Path, *, weights_only: bool) -> list[Path]:
    """The files of a state, or those of them that scoring needs."""
    return [file for file in sorted(state.iterdir()) if not (weights_only and file.name == MOMENTS)]
