"""Storage of a study's checkpoints and of durable copies of their states: a folder, or a folder in a bucket.

Paths are Tune's: absolute for a folder, BUCKET/FOLDER/... for a bucket. A copy is complete or absent on both.

`FolderStorage` is here; `trainables.checkpoints.bucket` has `BucketStorage`. The two share no code because they rely on
different guarantees. A file system renames atomically, syncs to disk, and its files are used in place. A bucket does
none of that: objects are complete when their upload ends, and are downloaded to be read.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full_name, token_of, weights_name
from trainables.machine.disk import sync, write_whole

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Storage(Protocol):
    """The storage of one study's checkpoints. Picklable: driver, slots and tasks on other nodes each hold a copy.

    Every method raises OSError if the storage cannot be read or written. `tuning.testing.storage_contract` holds the
    tests that an implementation must pass.
    """

    @property
    def filesystem(self) -> FileSystem | None:
        """The file system that Tune gets; None: this machine's."""

    @property
    def scheme(self) -> str:
        """The prefix of a path in messages, such as `s3://`; empty for a folder."""

    def manifest(self, path: str) -> CheckpointManifest | None:
        """Reads the checkpoint's manifest; None if there is none: no checkpoint, or one of a function trainable.

        Raises:
            DamagedCheckpoint: both copies of the manifest are damaged.
        """

    def exists(self, path: str) -> bool:
        """True if the checkpoint's folder exists."""

    def checkpoints(self, study: str) -> list[str]:
        """Lists the paths of all checkpoints in Tune's folder of the study."""

    def checkpoints_of(self, trial: str) -> list[str]:
        """Lists the paths of all checkpoints in a trial's folder, in order; empty if there is no such folder."""

    def files(self, folder: str, pattern: str) -> list[str]:
        """Lists the paths of a folder's files whose names match the glob, sorted; empty if there is no such folder."""

    def read(self, path: str) -> bytes:
        """Reads a whole file."""

    def write(self, path: str, data: bytes) -> None:
        """Writes a file, all or nothing, and its folder; when this returns, the file survives a crash."""

    def remove(self, path: str) -> None:
        """Removes a file, if it exists."""

    def delete(self, path: str, manifest: CheckpointManifest | None) -> None:
        """Deletes the checkpoint, if it exists, with the copies of its state."""

    def delete_other_states(self, path: str, manifest: CheckpointManifest) -> None:
        """Deletes states of other tokens in the checkpoint's folder: an earlier run left them there."""

    def holds(self, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> bool:
        """True if a complete copy of its state exists; with `weights_only` a full state counts as well."""

    def put(self, source: Path, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> None:
        """Copies the state in the local folder `source`; when this returns, the copy is complete."""

    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        """Reduces the copies to one beside the manifest that holds what scoring needs."""

    def strip_early(self, path: str, manifest: CheckpointManifest) -> bool:
        """Does what `strip` does, if that is cheap while the study runs; returns True if it was done."""

    def finish(self) -> None:
        """Called when the study has ended: removes all states but those beside a manifest."""

    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        """Returns a local folder with the full state of that token; None if there is no copy.

        Args:
            token: of the state.
            folder: the checkpoint as Tune hands it to a slot: downloaded, if it is in a bucket.
            scratch: an existing folder to download the state into.
            anywhere: look into the study's other checkpoints as well.
        """

    def scorable(self, path: str, manifest: CheckpointManifest | None, scratch: Path) -> Path | None:
        """Returns a local folder with the checkpoint's weights; None if there is no copy.

        Args:
            path: of the checkpoint.
            manifest: None: the checkpoint is a function trainable's, and all its files are wanted.
            scratch: an existing folder to download them into.
        """


@dataclass(frozen=True)
class FolderStorage:
    """Checkpoints in a folder that every node reaches. A state's copy is beside its manifest, under its own name."""

    filesystem = None
    scheme = ""

    def manifest(self, path: str) -> CheckpointManifest | None:
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

    def delete(self, path: str, manifest: CheckpointManifest | None) -> None:
        """See `Storage`."""
        if Path(path).exists():
            shutil.rmtree(path)

    def delete_other_states(self, path: str, manifest: CheckpointManifest) -> None:
        """See `Storage`."""
        for folder in Path(path).iterdir():
            if folder.is_dir() and token_of(folder.name) != manifest.token:
                shutil.rmtree(folder)

    def holds(self, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> bool:
        """See `Storage`."""
        names = (
            (weights_name(manifest.token), full_name(manifest.token)) if weights_only else (full_name(manifest.token),)
        )
        return any(Path(path, name).is_dir() for name in names)

    def put(self, source: Path, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> None:
        """See `Storage`. Written under another name, synced, renamed."""
        name = (weights_name if weights_only else full_name)(manifest.token)
        unfinished = Path(path, f".{name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for file in files_of(source, weights_only=weights_only):
            shutil.copyfile(file, unfinished / file.name)
            sync(unfinished / file.name)
        sync(unfinished)
        unfinished.rename(Path(path, name))
        sync(Path(path))

    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        """See `Storage`."""
        whole, stripped = Path(path, full_name(manifest.token)), Path(path, weights_name(manifest.token))
        if whole.is_dir() and not stripped.is_dir():
            whole.rename(stripped)
        elif whole.is_dir():
            shutil.rmtree(whole)
        (stripped / MOMENTS).unlink(missing_ok=True)

    def strip_early(self, path: str, manifest: CheckpointManifest) -> bool:
        """See `Storage`. A rename is cheap."""
        self.strip(path, manifest)
        return True

    def finish(self) -> None:
        """See `Storage`. Does nothing: all copies are beside their manifests."""

    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        """See `Storage`. Used where it lies."""
        if (own := folder / full_name(token)).is_dir():
            return own
        return next(folder.parent.parent.glob(f"*/*/{full_name(token)}"), None) if anywhere else None

    def scorable(self, path: str, manifest: CheckpointManifest | None, scratch: Path) -> Path | None:
        """See `Storage`. Used where it lies."""
        names = ("",) if manifest is None else (weights_name(manifest.token), full_name(manifest.token))
        return next((place for name in names if (place := Path(path, name)).is_dir()), None)


FOLDERS = FolderStorage()


def files_of(state: Path, *, weights_only: bool) -> list[Path]:
    """The files of a state, in order; with `weights_only` those that scoring needs."""
    return [file for file in sorted(state.iterdir()) if not (weights_only and file.name == MOMENTS)]
