"""Saves the states of a slot's trials, in shared memory or beside their manifests, and loads them again.

A state that is lost is recomputed (`trainables.checkpoints.recomputation`).
"""

from __future__ import annotations

import logging
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.checkpoints.recomputation import find_copies, recompute
from trainables.checksums import DamagedCheckpoint, damage, write_checksums
from trainables.machine.full_disk import is_full_disk, naming_the_disk
from trainables.machine.shared_memory import SharedMemory, free_memory
from trainables.models.files import weight_bytes
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.training import Training

logger = logging.getLogger(__name__)

COPY_TIMEOUT = 60.0  # seconds to wait for the driver to copy a state that is in another node's memory
POLL = 0.05  # seconds
FULL_STATE_FACTOR = 3  # size of a full state over that of the weights: Adam keeps two numbers per weight


def other_nodes() -> set[str]:
    """Ray's ids of the other living nodes of the cluster; empty outside Ray."""
    import ray

    nodes = ray.nodes() if ray.is_initialized() else []
    return {str(node["NodeID"]) for node in nodes if node["Alive"]} - {_node()}


class CheckpointManager:
    """Saves, loads and recomputes the states of one slot's trials.

    Args:
        policy: where states are written, and which of them hold optimizer state.
        make: builds a Training from params and spec.
        spec: what all trials of the slot share.
        others: returns the ids of the other living nodes, whose memory this process cannot read; called at each
            lookup.
    """

    def __init__(
        self,
        policy: CheckpointPolicy,
        make: Callable[[Params, FineTuneSpec], Training],
        spec: FineTuneSpec,
        others: Callable[[], set[str]] = other_nodes,
    ) -> None:
        self._policy, self._make, self._spec, self._others = policy, make, spec, others
        self._weights: int | None = policy.state_bytes or None
        self._largest = 0  # bytes of the largest state written by this process
        self._warnings: list[str] = []
        self._memory_was_full = False  # and a warning says so
        self._shared = None
        if policy.study is not None:
            try:
                self._shared = SharedMemory(policy.study)
            except OSError as error:
                logger.warning("no shared memory on this node (%s): states go straight to the storage path", error)

    def save(
        self,
        folder: Path,
        training: Training,
        past: CheckpointManifest | None,
        params: Params,
        epoch: float,
        result: Mapping[str, Any] | None,
        trained: float = 0.0,
    ) -> CheckpointManifest:
        """Writes a manifest into `folder`, and the state into shared memory, or beside it if memory has no room.

        Args:
            folder: the checkpoint's existing, empty folder.
            training: the live trial.
            past: the manifest of the checkpoint that the trial continued from; None: it began from scratch.
            params: the trial's complete values since then.
            epoch: where the trial stands.
            result: the Tune result reported with this checkpoint; None: it was not reported.
            trained: seconds since the last state with optimizer state; infinity: the trial has ended.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        last = past.restore_points[-1].epoch if past and past.restore_points else 0.0
        moments = self._policy.moments_due(last, epoch, trained)
        plain = replace(CheckpointManifest.after(past, params, epoch, moments=moments, node=None), result=result)
        manifest = self._save_in_memory(plain, training)
        if manifest is None:
            manifest = plain
            (folder / manifest.state).mkdir()
            self._write(folder / manifest.state, training, weights_only=not moments)
        manifest.write(folder)
        return manifest

    def _save_in_memory(self, manifest: CheckpointManifest, training: Training) -> CheckpointManifest | None:
        """Puts the state into this node's shared memory; returns its manifest, or None if there is no room.

        Free memory is checked first, but other trials and programs may take it meanwhile. Then nothing is left behind.
        """
        if self._shared is None:
            return None
        if free_memory() <= self._needed(manifest.moments):
            self._warn_no_room(self._shared)
            return None
        try:
            self._shared.put(
                manifest.state, lambda place: self._write(place, training, weights_only=not manifest.moments)
            )
        except OSError as error:
            if not is_full_disk(error):
                raise
            self._warn_no_room(self._shared)
            return None
        return replace(manifest, node=_node())

    def _write(self, place: Path, training: Training, *, weights_only: bool) -> None:
        with naming_the_disk(place):
            training.save(place, weights_only=weights_only)
            write_checksums(place)
        self._largest = max(self._largest, sum(file.stat().st_size for file in place.iterdir()))

    def _needed(self, moments: bool) -> int:
        """An upper bound of the next state's bytes; 0 until a Hub model's files are in the local cache."""
        if self._weights is None:
            self._weights = (
                (weight_bytes(self._spec.model, self._spec.revision) or 0) if self._spec.trainable == "finetune" else 0
            )
        return max(self._largest, self._weights * (FULL_STATE_FACTOR if moments else 1))

    def _warn_no_room(self, shared: SharedMemory) -> None:
        """Warns once that shared memory is full. Later states still try it: there may be room again."""
        if not self._memory_was_full:
            self._memory_was_full = True
            place = f"{shared.folder.parent} on {socket.gethostname()}"
            warning = f"{place} has no room for a state: states go straight to the storage; a larger /dev/shm is faster"
            logger.warning(warning)
            self._warnings.append(warning)

    @property
    def may_find_untracked(self) -> bool:
        """True if an earlier driver may have left checkpoints that Tune's snapshot does not contain."""
        return self._policy.resumed_from is not None

    def find_untracked(
        self, trial: str, past: CheckpointManifest | None, params: Params, epoch: float
    ) -> tuple[CheckpointManifest, Path] | None:
        """Finds the checkpoint of a report that was made before the driver was killed, but is not in Tune's snapshot.

        A damaged one is skipped. Its state may be gone: re-reporting the result does not need it.

        Args:
            trial: Tune's trial id, which is the name of its folder.
            past: the manifest of the checkpoint that the trial continues from; None: from scratch.
            params: the trial's complete values.
            epoch: of the trial's next report.

        Returns:
            Its manifest and its folder; None if there is none.
        """
        storage, study = self._policy.storage, self._policy.resumed_from
        for path in storage.checkpoints_of(f"{study}/{trial}"):
            try:
                manifest = storage.manifest(path)
            except DamagedCheckpoint as error:
                self._warnings.append(f"{error}: not used")
                continue
            if manifest is not None and manifest.result is not None and manifest.follows(past, params, epoch):
                return manifest, Path(path)
        return None

    def load(self, manifest: CheckpointManifest, folder: Path, training: Training) -> None:
        """Restores `training` from the checkpoint in `folder`; recomputes the state if it is lost.

        Args:
            manifest: of that checkpoint, the trial's own or a donor's.
            folder: the checkpoint as Tune hands it to the slot: downloaded, if the storage is a bucket.
            training: built with the trial's own params.
        """
        with tempfile.TemporaryDirectory(prefix="tunefleet-") as scratch:
            place = self._find(manifest, folder, Path(scratch)) if manifest.moments else None
            if place is None:
                apart = Path(scratch, "again")  # a damaged copy may have been downloaded beside it
                apart.mkdir()
                storage = self._policy.storage
                place = recompute(
                    manifest, folder, self._make, self._spec, apart, storage, self._shared, self._warnings
                )
            training.restore(place)

    def pop_warnings(self) -> list[str]:
        """Returns the distinct warnings since the last call, for the user, about states that were saved or loaded."""
        warnings, self._warnings = self._warnings, []
        return list(dict.fromkeys(warnings))

    def _find(self, manifest: CheckpointManifest, folder: Path, scratch: Path) -> Path | None:
        """Finds an intact copy of the state in this node's memory or on the storage; None if there is none.

        A state in another node's memory is waited for: the driver copies it to the storage.
        """
        until = time.monotonic() + COPY_TIMEOUT
        while True:
            elsewhere = manifest.node in self._others()  # queried anew: that node may be lost meanwhile
            exists = False
            for place in find_copies(manifest.token, folder, scratch, self._policy.storage, self._shared):
                exists = True
                if (why := damage(place)) is None:
                    return place
                self._warnings.append(f"{why}: not used")
            if exists or not elsewhere or time.monotonic() >= until:
                return None
            time.sleep(POLL)


def _node() -> str:
    """Ray's id of this node; empty outside Ray."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
