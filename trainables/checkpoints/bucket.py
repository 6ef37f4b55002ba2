"""Checkpoints and copies of states in a bucket, which has neither folders nor renames.

    STUDY/<trial>/checkpoint_<n>/recipe.json          uploaded by Tune, as is a state that shared memory had no room for
    STUDY/<trial>/checkpoint_<n>/weights-<token>/     a copy with weights only
    STATES/state-<token>/                             a full copy, from which a trial can continue

A copy is complete when its last object, `complete`, exists. Full states are found by their token alone: a slot that
needs a donor's state knows its token, not its folder. They are removed when the study ends.
"""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full_name, token_of, weights_name
from trainables.checkpoints.storage import files_of

COMPLETE = "complete"
BLOCK = 1 << 24  # bytes copied at once


@dataclass(frozen=True)
class BucketStorage:
    """Checkpoints of one study in a bucket; see `Storage` for the methods.

    Args:
        filesystem: of the bucket; paths below are its own.
        scheme: what precedes a path in messages, such as `s3://`.
        study: Tune's folder of the study.
        states: the folder for full copies of states.
    """

    filesystem: FileSystem
    scheme: str
    study: str
    states: str

    def manifest(self, path: str) -> CheckpointManifest | None:
        """See `Storage`."""
        return CheckpointManifest.found(f"{self.scheme}{path}", lambda name: self.read(f"{path}/{name}"))

    def exists(self, path: str) -> bool:
        """See `Storage`."""
        return self._type(path) is not FileType.NotFound

    def checkpoints(self, study: str) -> list[str]:
        """See `Storage`."""
        below = (name.split("/") for name in self._names(study))
        found = {(names[0], names[1]) for names in below if len(names) > 2 and names[1].startswith("checkpoint_")}
        return [f"{study}/{trial}/{checkpoint}" for trial, checkpoint in sorted(found)]

    def checkpoints_of(self, trial: str) -> list[str]:
        """See `Storage`."""
        found = {name.partition("/")[0] for name in self._names(trial) if "/" in name}
        return sorted(f"{trial}/{name}" for name in found if name.startswith("checkpoint_"))

    def files(self, folder: str, pattern: str) -> list[str]:
        """See `Storage`."""
        return sorted(info.path for info in self._list(folder) if fnmatch.fnmatch(info.base_name, pattern))

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        with self.filesystem.open_input_stream(path) as source:
            return bytes(source.read())

    def write(self, path: str, data: bytes) -> None:
        """See `Storage`. An object exists when its upload has ended."""
        with self.filesystem.open_output_stream(path) as target:
            target.write(data)

    def remove(self, path: str) -> None:
        """See `Storage`."""
        try:
            self.filesystem.delete_file(path)
        except OSError:
            if self.exists(path):
                raise

    def delete(self, path: str, manifest: CheckpointManifest | None) -> None:
        """See `Storage`."""
        if manifest is not None and manifest.moments:
            self._delete_copy(f"{self.states}/{full_name(manifest.token)}")
        self._delete_folder(path)

    def delete_other_states(self, path: str, manifest: CheckpointManifest) -> None:
        """See `Storage`."""
        states = {folder for folder, below, _ in (name.partition("/") for name in self._names(path)) if below}
        for state in states:
            if token_of(state) != manifest.token:
                self._delete_copy(f"{path}/{state}")

    def holds(self, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> bool:
        """See `Storage`."""
        if manifest.node is None:
            return manifest.moments or weights_only
        copies = [f"{self.states}/{full_name(manifest.token)}"]
        if weights_only:
            copies.append(f"{path}/{weights_name(manifest.token)}")
        return any(map(self._is_complete, copies))

    def put(self, source: Path, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> None:
        """See `Storage`."""
        target = (
            f"{path}/{weights_name(manifest.token)}" if weights_only else f"{self.states}/{full_name(manifest.token)}"
        )
        for file in files_of(source, weights_only=weights_only):
            with file.open("rb") as read, self.filesystem.open_output_stream(f"{target}/{file.name}") as write:
                shutil.copyfileobj(read, write, BLOCK)
        self._complete(target)

    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        """See `Storage`. Streamed through this machine: buckets copy objects of at most 5 GB by themselves."""
        stripped, source = f"{path}/{weights_name(manifest.token)}", self._place(path, manifest)
        if source is None:
            return
        if source != stripped:
            for info in self._list(source):
                if info.base_name not in (MOMENTS, COMPLETE):
                    self._copy(info.path, f"{stripped}/{info.base_name}")
            self._complete(stripped)
        if manifest.node is None and manifest.moments:
            self._delete_folder(f"{path}/{manifest.state}")

    def strip_early(self, path: str, manifest: CheckpointManifest) -> bool:
        """See `Storage`. Does nothing: in a bucket it would mean copying."""
        return False

    def finish(self) -> None:
        """See `Storage`."""
        self._delete_folder(self.states)

    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        """See `Storage`. Downloads the state, unless Tune has."""
        if (own := folder / full_name(token)).is_dir():
            return own
        place: str | None = f"{self.states}/{full_name(token)}"
        if not self._is_complete(f"{self.states}/{full_name(token)}"):
            place = self._beside(full_name(token)) if anywhere else None
        return None if place is None else self._downloaded(place, scratch, weights_only=False)

    def scorable(self, path: str, manifest: CheckpointManifest | None, scratch: Path) -> Path | None:
        """See `Storage`. Downloads the files."""
        place = self._place(path, manifest) if manifest else path if self.exists(path) else None
        return None if place is None else self._downloaded(place, scratch, weights_only=True)

    def _place(self, path: str, manifest: CheckpointManifest) -> str | None:
        """The path of the cheapest copy for scoring; a state that Tune uploaded has no `complete`."""
        stripped = f"{path}/{weights_name(manifest.token)}"
        if self._is_complete(stripped):
            return stripped
        if manifest.node is None:
            beside = f"{path}/{manifest.state}"
            return beside if self.exists(beside) else None
        whole = f"{self.states}/{full_name(manifest.token)}"
        return whole if self._is_complete(whole) else None

    def _beside(self, name: str) -> str | None:
        """Finds the state `name` that Tune uploaded beside some trial's manifest: lists the whole study's objects."""
        folders = (f"{self.study}/{posixpath.dirname(path)}" for path in self._names(self.study))
        return next((folder for folder in folders if posixpath.basename(folder) == name), None)

    def _downloaded(self, place: str, scratch: Path, *, weights_only: bool) -> Path:
        folder = scratch / posixpath.basename(place)
        folder.mkdir()
        unwanted = (COMPLETE, MOMENTS) if weights_only else (COMPLETE,)
        for info in self._list(place):
            if info.base_name not in unwanted:
                with self.filesystem.open_input_stream(info.path) as read, (folder / info.base_name).open("wb") as file:
                    shutil.copyfileobj(read, file, BLOCK)
        return folder

    def _copy(self, source: str, target: str) -> None:
        files = self.filesystem
        with files.open_input_stream(source) as read, files.open_output_stream(target) as write:
            shutil.copyfileobj(read, write, BLOCK)

    def _complete(self, place: str) -> None:
        with self.filesystem.open_output_stream(f"{place}/{COMPLETE}"):
            pass

    def _is_complete(self, place: str) -> bool:
        return self._type(f"{place}/{COMPLETE}") is FileType.File

    def _type(self, path: str) -> FileType:
        return self.filesystem.get_file_info(path).type

    def _list(self, path: str) -> Iterator[FileInfo]:
        """Lists the objects directly below `path`."""
        found = self.filesystem.get_file_info(FileSelector(path, allow_not_found=True))
        return (info for info in found if info.is_file)

    def _names(self, path: str) -> Iterator[str]:
        """Lists the names of all objects below, relative to `path`; a thousand take one request.

        Folders are not listed: Google's client does not find those that were not created explicitly.
        """
        found = self.filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=True))
        return (info.path.removeprefix(f"{path}/") for info in found if info.is_file)

    def _delete_copy(self, place: str) -> None:
        """Deletes a copy, `complete` first."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{place}/{COMPLETE}")
        self._delete_folder(place)

    def _delete_folder(self, path: str) -> None:
        try:
            self.filesystem.delete_dir(path)
        except OSError:
            if self.exists(path):  # Google's client raises no error of its own for a missing folder
                raise
