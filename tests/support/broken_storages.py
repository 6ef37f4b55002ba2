"""Storages that break one rule of their contract each; but for that they are a folder."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from trainables.checkpoints.manifest import RECIPE, SPARE, CheckpointManifest, full, weights
from trainables.checkpoints.storage import FolderStorage


class HoldsEverything(FolderStorage):
    def holds(self, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> bool:
        return True


class StripsNothing(FolderStorage):
    def strip(self, path: str, recipe: CheckpointManifest) -> None:
        return None


class CopiesAll(FolderStorage):
    def put(self, source: Path, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> None:
        super().put(source, path, recipe, weights_only=False)


class LeavesTheCopy(FolderStorage):
    def delete(self, path: str, recipe: CheckpointManifest | None) -> None:
        for name in (RECIPE, SPARE):
            Path(path, name).unlink(missing_ok=True)


class LooksInOnePlace(FolderStorage):
    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        return super().find(token, folder, scratch)


class StripsInSecret(FolderStorage):
    def strip_early(self, path: str, recipe: CheckpointManifest) -> bool:
        self.strip(path, recipe)
        return False


class LeavesOtherStates(FolderStorage):
    def delete_other_states(self, path: str, recipe: CheckpointManifest) -> None:
        return None


class WritesInPlace(FolderStorage):
    """A copy has its name from its first file on."""

    def put(self, source: Path, path: str, recipe: CheckpointManifest, *, weights_only: bool) -> None:
        target = Path(path, (weights if weights_only else full)(recipe.token))
        target.mkdir(exist_ok=True)
        for file in sorted(source.iterdir()):
            shutil.copyfile(file, target / file.name)


class ReadsOneCopy(FolderStorage):
    def recipe(self, path: str) -> CheckpointManifest | None:
        try:
            return CheckpointManifest.parse(Path(path, RECIPE).read_bytes())
        except (FileNotFoundError, ValueError):
            return None


class Unordered(FolderStorage):
    def checkpoints_of(self, trial: str) -> list[str]:
        return super().checkpoints_of(trial)[::-1]


class ScoresRecipesAlone(FolderStorage):
    def scorable(self, path: str, recipe: CheckpointManifest | None, scratch: Path) -> Path | None:
        return None if recipe is None else super().scorable(path, recipe, scratch)


class Appends(FolderStorage):
    def write(self, path: str, data: bytes) -> None:
        before = self.read(path) if Path(path).exists() else b""
        super().write(path, before + data)


class Locked(FolderStorage):
    def __reduce__(self) -> tuple[object, ...]:
        return Locked, (threading.Lock(),)
