"""The folder that a final model is written to, with all its files or not at all.

In: files as bytes. Out: the folder, or an error before anything is trained: hours of training, and an evaluation on the
test split, would be lost with it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from trainables.errors import InputError
from tuning.selection import best_spec
from tuning.selection.card import CARD


@dataclass(frozen=True)
class ModelFolder:
    """The folder that a model is written to, with all its files or not at all."""

    folder: Path
    replace: bool = False  # what an earlier train-final has written there

    def check(self, needed: int = 0) -> None:
        """Check that the folder could be written now, before hours of training and an evaluation on test.

        Args:
            needed: bytes that the model's files will take, as far as known.

        Raises:
            InputError: something is there, no folder can be made there, or the disk has not that much room.
        """
        name, other = str(self.folder), "choose another folder (--out FOLDER)"
        if self.folder.is_symlink():
            raise InputError("--out", name, "is a symbolic link", "name the folder itself")
        if self.folder.exists():
            if not (self.folder / best_spec.FILE).is_file() or not (self.folder / CARD).is_file():
                raise InputError("--out", name, "holds something that train-final has not written", other)
            if not self.replace:
                raise InputError(
                    "--out", name, "holds a model already", "choose another folder, or replace it with --force"
                )
        existing = next(parent for parent in self.folder.parents if parent.exists())
        try:
            scratch = self._scratch(existing)
            scratch.mkdir()
            scratch.rmdir()
            if self.folder.exists():  # it is to be emptied
                with TemporaryFile(dir=self.folder):
                    pass
        except OSError as error:
            rule = f"cannot be written: {existing}: {error.strerror}"
            raise InputError("--out", name, rule, other) from error
        if (free := shutil.disk_usage(existing).free) < needed:
            rule = f"has {free / 1e6:,.0f} MB free on its disk, and the model takes about {needed / 1e6:,.0f} MB"
            raise InputError("--out", name, rule, f"make room, or {other}")

    def _scratch(self, parent: Path) -> Path:
        return parent / f".{self.folder.name}.{uuid.uuid4().hex[:8]}"

    def write_or_rescue(self, files: Mapping[str, bytes]) -> None:
        """Write all `files`, by path below it; keep them in a temporary folder if this one cannot be written any more.

        Raises:
            OSError: the folder could not be written, and where the files are instead.
        """
        try:
            self.write(files)
        except (OSError, InputError) as error:
            rescued = Path(mkdtemp(prefix="tunefleet-model-"), "model")
            ModelFolder(rescued).write(files)
            raise OSError(
                f"--out: {self.folder}: {error}. The model is trained and recorded, and its files are in "
                f"{rescued}: move them from there"
            ) from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write all `files`, by path below the folder.

        Raises:
            InputError: something is there now.
            OSError: the disk cannot be written.
        """
        self.check()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._scratch(self.folder.parent)
        try:
            scratch.mkdir()
            for name, content in files.items():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).write_bytes(content)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            scratch.rename(self.folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
