"""The driver's side of a study's states: which lie in memory, on which node, and which are being copied to storage.

It does what the keeper of checkpoints decides. Without shared memory the slots write each state beside its manifest:
then nothing is to be copied.
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
from tuning.checkpoints.copier import Copier, Copy, drop, remove
from tuning.checkpoints.room import fits_memory, settled

if TYPE_CHECKING:
    from tuning.spec.models import CheckpointSpec, ExperimentSpec
    from tuning.strategies import Plan

EVERY_SECONDS = 300.0  # of a trial's training between two states that nobody has asked for

logger = logging.getLogger(__name__)


class StudyStates:
    """Open while the study runs.

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
        self._left = self._shared.names()  # by a killed run: used if it is asked for
        self._in_memory: dict[str, str | None] = dict.fromkeys(self._left, here)
        self._durable: set[tuple[str, bool]] = set()  # token, weights only
        self._asked: set[tuple[str, bool]] = set()  # what the storage was asked for: once, for it may be far away
        self._copier = Copier(study, here, storage)

    def arrived(self, manifest: CheckpointManifest) -> None:
        """A slot has written the state of `manifest`."""
        if manifest.node is not None:
            self._in_memory[manifest.state] = manifest.node
            self._asked |= {(manifest.token, False), (manifest.token, True)}

    def durable(self, copy: Copy) -> bool:
        """Whether the copy, or a fuller one, is on the storage."""
        self._durable |= self._copier.take_made()
        kinds = [(copy.manifest.token, False), (copy.manifest.token, copy.weights_only)]
        return not self._durable.isdisjoint(kinds) or self._is_left(copy)

    def _is_left(self, copy: Copy) -> bool:
        """Whether a run before this one has made it, or the slot itself."""
        known = copy.manifest.token, copy.weights_only
        if known in self._asked:
            return False
        self._asked.add(known)
        if left := self._storage.holds(copy.path, copy.manifest, weights_only=copy.weights_only):
            self._durable.add(known)
        return left

    def decide(self, in_memory: set[str], copies: Sequence[Copy]) -> None:
        """From now on only the states `in_memory` need to be there, and only `copies` are to be made.

        Raises:
            StorageError: an earlier copy could not be written.
        """
        self._copier.check()
        self._copier.want([copy for copy in copies if not self.durable(copy)])
        unneeded: dict[str | None, list[str]] = {}
        for state in self._in_memory.keys() - in_memory - self._left:
            if self.withdraw(token_of(state)):
                unneeded.setdefault(self._in_memory.pop(state), []).append(state)
        for node, states in unneeded.items():
            if node in (None, self._here) or not is_alive(node):
                drop(self._study, states)
            else:
                start_on_node(node, drop, self._study, states)  # not waited for: Tune's loop is

    def forget_left(self) -> None:
        """All trials go on: what a killed run has left and nobody has asked for goes with the next decision."""
        self._left = set()

    def withdraw(self, token: str) -> bool:
        """Make no copy of that state; False while one is being made: its checkpoint cannot be deleted now."""
        return self._copier.withdraw(token)

    def flush(self, copies: Sequence[Copy]) -> None:
        """Make `copies` now and wait for them.

        Raises:
            StorageError: one could not be written.
        """
        self._copier.want([copy for copy in copies if not self.durable(copy)])
        self.wait()

    def wait(self) -> None:
        """Return when every copy that is to be made now is on the storage.

        Raises:
            StorageError: one could not be written.
        """
        self._copier.wait()

    def strip(self, path: str, manifest: CheckpointManifest) -> None:
        """Leave of the copies what scoring needs, unless that is dear where they lie."""
        if self._storage.strip_early(path, manifest):
            self._durable.discard((manifest.token, False))
            self._durable.add((manifest.token, True))

    def close(self) -> None:
        """Empty the memory on every node."""
        self._copier.close()
        for node in {*self._in_memory.values()} - {None, self._here}:
            if is_alive(node):
                run_on_node(str(node), remove, self._study)
        self._shared.remove()


@contextlib.contextmanager
def open_states(
    spec: ExperimentSpec, plan: Plan, study: Path, storage: Storage, slots: int, resumed_from: str | None
) -> Iterator[tuple[StudyStates | None, CheckpointPolicy]]:
    """Where the states of a study are kept, for the driver and for the slots; the memory is emptied at the end.

    `study` names it in shared memory; `resumed_from` is Tune's folder of it, if resumed. None and a `CheckpointPolicy`
    without a place where this node's memory cannot take them and for a function of the user's own, which keeps its
    checkpoints itself.
    """
    size = weight_bytes(spec.model, spec.revision) if spec.trainable == "finetune" else None
    checkpoint = settled(spec, size, plan, slots)
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
    """Once in so many epochs, or in so many seconds."""
    every = checkpoint.every_epochs
    return (None, EVERY_SECONDS) if every == "auto" else (every, None)


def _opened(study: Path, storage: Storage) -> StudyStates | None:
    import ray

    try:
        return StudyStates(study, str(ray.get_runtime_context().get_node_id()), storage)
    except OSError as error:
        logger.warning("no shared memory here (%s): states of checkpoints go straight to the storage", error)
        return None
