"""Recomputes states that are lost or damaged, and finds the copies of those that are not.

A state is recomputed from the newest restore point of its manifest that still exists, or from scratch: the recorded
segments are trained again, each with its own values. On a CPU, where training is deterministic, the result is the same
bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.checkpoints.manifest import MOMENTS, CheckpointManifest, full_name
from trainables.checkpoints.replay import replay
from trainables.checkpoints.storage import FOLDERS, Storage
from trainables.checksums import damage
from trainables.epochs import ROUNDING
from trainables.machine.shared_memory import SharedMemory
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.training import Training

logger = logging.getLogger(__name__)


def find_in_memory(token: str, shared: SharedMemory | None) -> Path | None:
    """The folder of a full state in this node's shared memory; None if it is not there."""
    return None if shared is None else shared.find(full_name(token))


def find_copies(
    token: str, folder: Path, scratch: Path, storage: Storage, shared: SharedMemory | None, *, anywhere: bool = False
) -> Iterator[Path]:
    """Yields the copies of a full state: in this node's memory, then on the storage (see `Storage.find`)."""
    if (place := find_in_memory(token, shared)) is not None:
        yield place
    if (place := storage.find(token, folder, scratch, anywhere=anywhere)) is not None:
        yield place


def recompute(
    manifest: CheckpointManifest,
    folder: Path,
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    storage: Storage = FOLDERS,
    shared: SharedMemory | None = None,
    warnings: list[str] | None = None,
) -> Path:
    """Trains the lost state of `manifest` again, from the newest intact restore point, or from scratch.

    Args:
        manifest: of the checkpoint whose state is lost.
        folder: the checkpoint's folder, in its trial's folder, in its study's.
        make: builds a Training from params and spec.
        spec: what all trials of the study share.
        scratch: an existing, empty folder.
        storage: where copies of restore points are.
        shared: this node's memory of the study; None: it is not looked into.
        warnings: damaged states are added to it; if there are any, also that the state was recomputed. That is always
            logged.

    Returns:
        A folder below `scratch`, or the restore point itself if it is of the wanted epoch.
    """
    begun, place, warnings = 0.0, None, [] if warnings is None else warnings
    for point in reversed(manifest.restore_points):
        for found in find_copies(point.token, folder, scratch, storage, shared, anywhere=True):
            if (why := damage(found)) is None:
                begun, place = point.epoch, found
                break
            warnings.append(f"{why}: not used")
        if place is not None:
            break
    notice = f"the state of {folder} is recomputed from epoch {begun:g} to {manifest.epoch:g}"
    logger.warning(notice)
    if warnings:
        warnings.append(notice)
    if place is not None and begun > manifest.epoch - ROUNDING:
        return place
    training, _ = replay(manifest.segments, make, spec, scratch, begun=begun, place=place)
    made = scratch / "recomputed"
    made.mkdir()
    training.save(made)
    return made


def weights_folder(
    path: str,
    storage: Storage,
    make: Callable[[Params, FineTuneSpec], Training],
    spec: FineTuneSpec,
    scratch: Path,
    warnings: list[str] | None = None,
) -> Path:
    """Returns a local folder with the weights of a checkpoint; if they are lost or damaged, they are recomputed.

    Args:
        path: the checkpoint's path on `storage`.
        storage: where the checkpoint is.
        make: builds a Training from params and spec.
        spec: what all trials of the study share.
        scratch: an existing, empty folder for what is downloaded or recomputed.
        warnings: as for `recompute`.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    manifest = storage.manifest(path)
    if manifest is None:
        raise FileNotFoundError(f"{path} holds no checkpoint")
    warnings = [] if warnings is None else warnings
    if (place := storage.scorable(path, manifest, scratch)) is not None:
        if (why := damage(place, optional=[MOMENTS])) is None:
            return place
        warnings.append(f"{why}: not used")
    apart = scratch / "again"
    apart.mkdir()
    return recompute(manifest, Path(path), make, spec, apart, storage, warnings=warnings)
