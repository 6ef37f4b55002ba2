"""Storages that break one rule of their contract each; but for that they are a folder."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from trainables.checkpoints.manifest import MANIFEST, SPARE_MANIFEST, CheckpointManifest, full_name, weights_name
from trainables.checkpoints.storage import FolderStorage


class HoldsEverything(FolderStorage):
    def holds(self, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> bool:
        return True


class StripsNothing(FolderStorage):
    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        return None


class CopiesAll(FolderStorage):
    def put(self, source: Path, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> None:
        super().put(source, path, manifest, weights_only=False)


class LeavesTheCopy(FolderStorage):
    def delete(self, path: str, manifest: CheckpointManifest | None) -> None:
        for name in (MANIFEST, SPARE_MANIFEST):
            Path(path, name).unlink(missing_ok=True)


class LooksInOnePlace(FolderStorage):
    def find(self, token: str, folder: Path, scratch: Path, *, anywhere: bool = False) -> Path | None:
        return super().find(token, folder, scratch)


class StripsInSecret(FolderStorage):
    def strip_early(self, path: str, manifest: CheckpointManifest) -> bool:
        self.strip(path, manifest)
        return False


class LeavesOtherStates(FolderStorage):
    def delete_other_states(self, path: str, manifest: CheckpointManifest) -> None:
        return None


class WritesInPlace(FolderStorage):
    """Gives a copy its name from its first file on, before it is whole."""

    def put(self, source: Path, path: str, manifest: CheckpointManifest, *, weights_only: bool) -> None:
        target = Path(path, (weights_name if weights_only else full_name)(manifest.token))
        target.mkdir(exist_ok=True)
        for file in sorted(source.iterdir()):
            shutil.copyfile(file, target / file.name)


class ReadsOneCopy(FolderStorage):
    def manifest(self, path: str) -> CheckpointManifest | None:
        try:
            return CheckpointManifest.parse(Path(path, MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError):
            return None


class Unordered(FolderStorage):
    def checkpoints_of(self, trial: str) -> list[str]:
        return super().checkpoints_of(trial)[::-1]


class ScoresRecipesAlone(FolderStorage):
    def scorable(self, path: str, manifest: CheckpointManifest | None, scratch: Path) -> Path | None:
        return None if manifest is None else super().scorable(path, manifest, scratch)


class Appends(FolderStorage):
    def write(self, path: str, data: bytes) -> None:
        before = self.read(path) if Path(path).exists() else b""
        super().write(path, before + data)


class Locked(FolderStorage):
    def __reduce__(self) -> tuple[object, ...]:
        return Locked, (threading.Lock(),)
