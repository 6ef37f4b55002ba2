"""Keeps track of a study's states: which lie in memory, on which node, and which are being copied to the storage.

In: what the keeper of checkpoints decides. Out: copies, and free memory. Without shared memory the slots write each
state beside its manifest, and there is nothing to copy.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.nodes.tasks import is_alive, run_on_node, start_on_node
from trainables.checkpoints.manifest import CheckpointManifest, token_of
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.checkpoints.storage import Storage
from trainables.lookup import is_training
from trainables.machine.shared_memory import SharedMemory
from trainables.models.files import weight_bytes
from tuning.checkpoints.copier import Copier, Copy, drop_states, remove_study
from tuning.checkpoints.storage_needs import fits_memory, resolve_every_epochs

if TYPE_CHECKING:
    from tuning.spec.models import CheckpointSpec, ExperimentSpec
    from tuning.strategies import Plan

EVERY_SECONDS = 300.0  # of a trial's training between two states with moments, where the user sets no epochs

logger = logging.getLogger(__name__)


class StudyStates:
    """The states of one study; open while the study runs.

    Args:
        study: names the study in shared memory.
        here: Ray's id of the driver's node.
        storage: where the copies go.

    Raises:
        OSError: this node has no shared memory for us; see `SharedMemory`.
    """

    def __init__(self, study: Path, here: str, storage: Storage) -> None:
        self._study, self._here, self._storage = study, here, storage
        self._shared = SharedMemory(study)
        self._left = self._shared.names()  # by a killed run: used if a trial goes on from them
        self._in_memory: dict[str, str | None] = dict.fromkeys(self._left, here)
        self._durable: set[tuple[str, bool]] = set()  # token, weights only
        self._looked_up: set[tuple[str, bool]] = set()  # on the storage: once each, for it may be far away
        self._copier = Copier(study, here, storage)

    def arrived(self, manifest: CheckpointManifest) -> None:
        """A slot has written the state of `manifest`."""
        if manifest.node is not None:
            self._in_memory[manifest.state] = manifest.node
            self._looked_up |= {(manifest.token, False), (manifest.token, True)}

    def durable(self, copy: Copy) -> bool:
        """True if the copy, or a fuller one, is on the storage."""
        self._durable |= self._copier.pop_made()
        kinds = [(copy.manifest.token, False), (copy.manifest.token, copy.weights_only)]
        return not self._durable.isdisjoint(kinds) or self._is_left(copy)

    def _is_left(self, copy: Copy) -> bool:
        """True if an earlier run or the slot itself has made the copy."""
        known = copy.manifest.token, copy.weights_only
        if known in self._looked_up:
            return False
        self._looked_up.add(known)
        if left := self._storage.holds(copy.path, copy.manifest, weights_only=copy.weights_only):
            self._durable.add(known)
        return left

    def decide(self, in_memory: set[str], copies: Sequence[Copy]) -> None:
        """Keep only the states `in_memory` in memory, and make only `copies`, from now on.

        Raises:
            StorageError: an earlier copy could not be written.
        """
        self._copier.check()
        self._copier.schedule([copy for copy in copies if not self.durable(copy)])
        unneeded: dict[str | None, list[str]] = {}
        for state in self._in_memory.keys() - in_memory - self._left:
            if self.cancel(token_of(state)):
                unneeded.setdefault(self._in_memory.pop(state), []).append(state)
        for node, states in unneeded.items():
            if node in (None, self._here) or not is_alive(node):
                drop_states(self._study, states)
            else:
                start_on_node(node, drop_states, self._study, states)  # not waited for: Tune's loop is

    def forget_left(self) -> None:
        """Let the next decision free what a killed run has left and no trial has used: all trials go on now."""
        self._left = set()

    def cancel(self, token: str) -> bool:
        """Make no copy of a state. Returns False while one is being made: its checkpoint cannot be deleted now."""
        return self._copier.cancel(token)

    def flush(self, copies: Sequence[Copy]) -> None:
        """Make `copies` now and wait for them.

        Raises:
            StorageError: one could not be written.
        """
        self._copier.schedule([copy for copy in copies if not self.durable(copy)])
        self.wait()

    def wait(self) -> None:
        """Return when every copy that is to be made now is on the storage.

        Raises:
            StorageError: one could not be written.
        """
        self._copier.wait()

    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        """Reduce the copies to what scoring needs, unless that is expensive where they lie."""
        if self._storage.strip_early(path, manifest):
            self._durable.discard((manifest.token, False))
            self._durable.add((manifest.token, True))

    def close(self) -> None:
        """Empty the memory on every node."""
        self._copier.close()
        for node in {*self._in_memory.values()} - {None, self._here}:
            if is_alive(node):
                run_on_node(str(node), remove_study, self._study)
        self._shared.remove()


@contextlib.contextmanager
def open_states(
    spec: ExperimentSpec, plan: Plan, study: Path, storage: Storage, slots: int, resumed_from: str | None
) -> Iterator[tuple[StudyStates | None, CheckpointPolicy]]:
    """Open the states of a study for the driver and for the slots; their memory is emptied at the end of the block.

    Args:
        plan: of the study.
        study: its name in shared memory.
        storage: where the copies go.
        slots: trials that run at the same time.
        resumed_from: Tune's folder of the study, if it is resumed.

    Returns:
        For the driver: the states; None if this node's memory cannot take them, and for a function of the user's own,
        which keeps its checkpoints itself. For the slots: the policy.
    """
    size = weight_bytes(spec.model, spec.revision) if spec.trainable == "finetune" else None
    checkpoint = resolve_every_epochs(spec, size, plan, slots)
    fits = is_training(spec.trainable) and fits_memory(size, plan, slots, checkpoint)
    states = _opened(study, storage) if fits else None
    place = None if states is None else study
    try:
        yield (
            states,
            CheckpointPolicy(place, plan.weights_only, *_moments(checkpoint), size or 0, storage, resumed_from),
        )
    finally:
        if states is not None:
            states.close()


def _moments(checkpoint: CheckpointSpec) -> tuple[float | None, float | None]:
    """Return how often a state has moments: once in so many epochs, or once in so many seconds."""
    every = checkpoint.every_epochs
    return (None, EVERY_SECONDS) if every == "auto" else (every, None)


def _opened(study: Path, storage: Storage) -> StudyStates | None:
    import ray

    try:
        return StudyStates(study, str(ray.get_runtime_context().get_node_id()), storage)
    except OSError as error:
        logger.warning("no shared memory here (%s): states of checkpoints go straight to the storage", error)
        return None
