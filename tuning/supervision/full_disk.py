"""A trial that could not write to the storage because its disk is full has not failed: any other would as well."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster.storage import StorageError
from trainables.machine.full_disk import FULL, causes, is_full_disk

NEARLY_FULL = 1 << 26  # bytes: with less free, an error that names no file is taken for this disk's


def full_disk_error(error: BaseException, folder: str) -> StorageError | None:
    """The error to raise if `error` comes from a full disk below `folder`; None otherwise.

    Args:
        error: as Tune gets it from a trial. What Tune itself copies to the storage names no file, nor do errors with
            words alone (safetensors, torch.save): for these the free room of `folder` decides.
    """
    named = [cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in FULL]
    for cause in named:
        if (place := str(cause.filename or folder)).startswith(folder):
            return _storage_error(place, cause)
    if not named and is_full_disk(error) and _is_nearly_full(Path(folder)):
        return _storage_error(folder, error)
    return None


def _storage_error(place: str, cause: BaseException) -> StorageError:
    words = " ".join(str(cause).split())
    return StorageError(f"cluster.storage: a trial cannot write to {place}: {words}. Make room there.")


def _is_nearly_full(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free < NEARLY_FULL
