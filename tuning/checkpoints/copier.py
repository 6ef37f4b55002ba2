"""Copies states from shared memory to the storage while trials train: one copy at a time on each node.

In: the list of copies to make, from `StudyStates`. Out: files on the storage. No node waits for another, which may be
slow or cut off. A state on another node is copied by a Ray task there that holds no CPU. An error (a full disk) is kept
for `check`, which the driver calls while the study runs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.nodes.tasks import is_alive, run_on_node
from cluster.storage import StorageError
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.storage import Storage
from trainables.machine.shared_memory import SharedMemory


class Copy(NamedTuple):
    """A copy to make."""

    manifest: CheckpointManifest
    path: str  # of the checkpoint
    weights_only: bool


def make_copy(study: Path, storage: Storage, copy: Copy) -> bool:
    """Copy a state from this node's memory; returns False if it is not there (any more).

    Raises:
        OSError: the storage cannot be written.
    """
    shared = SharedMemory(study)
    try:
        source = shared.find(copy.manifest.state)
        if source is None:
            return False
        storage.put(source, copy.path, copy.manifest, weights_only=copy.weights_only)
        return True
    finally:
        shared.close()


class Copier:
    """Keeps the list of copies to make, and a thread of the driver for each node.

    Only the driver's main thread may call it.

    Args:
        study: names the study in shared memory.
        here: Ray's id of the driver's node.
        storage: where the copies go.
    """

    def __init__(self, study: Path, here: str, storage: Storage) -> None:
        self._study, self._here, self._storage = study, here, storage
        self._changed = threading.Condition()
        self._scheduled: list[Copy] = []
        self._current: dict[str, Copy] = {}  # by node
        self._made: set[tuple[str, bool]] = set()  # token, weights only
        self._lost: set[str] = set()  # tokens of states that were not where they should be
        self._failure: Exception | None = None
        self._failed_at = ""
        self._closed = False
        self._threads: dict[str, threading.Thread] = {}  # by node

    def schedule(self, copies: Sequence[Copy]) -> None:
        """Make these copies, in this order, and no others: those that are scheduled, but not begun, are given up."""
        with self._changed:
            self._scheduled = [copy for copy in copies if copy.manifest.token not in self._lost]
            for node in {self._node_of(copy) for copy in self._scheduled} - self._threads.keys():
                self._threads[node] = threading.Thread(
                    target=self._run, args=(node,), name=f"copier {node}", daemon=True
                )
                self._threads[node].start()
            self._changed.notify_all()

    def cancel(self, token: str) -> bool:
        """Make no copy of a state. Returns False while one is being made: the state may not be deleted now."""
        with self._changed:
            self._scheduled = [copy for copy in self._scheduled if copy.manifest.token != token]
            return all(copy.manifest.token != token for copy in self._current.values())

    def pop_made(self) -> set[tuple[str, bool]]:
        """Return (token, weights only) of each copy that was made since the last call."""
        with self._changed:
            made, self._made = self._made, set()
            return made

    def check(self) -> None:
        """Raise the error of a copy that has failed.

        Raises:
            StorageError: a copy could not be written.
        """
        if self._failure is not None:
            raise StorageError(
                f"cluster.storage: a checkpoint's state cannot be copied to {self._failed_at}: {self._failure}. "
                "Make room or mend the storage, then go on with `tunefleet resume`."
            ) from self._failure

    def wait(self) -> None:
        """Return when every scheduled copy is there.

        Raises:
            StorageError: a copy could not be written.
        """
        with self._changed:
            while (self._scheduled or self._current) and self._failure is None:
                self._changed.wait()
        self.check()

    def close(self) -> None:
        """Give up the copies that have not begun; returns when the others have ended."""
        with self._changed:
            self._closed = True
            self._scheduled = []
            self._changed.notify_all()
        for thread in self._threads.values():
            thread.join()

    def _node_of(self, copy: Copy) -> str:
        return copy.manifest.node or self._here

    def _run(self, node: str) -> None:
        while (copy := self._next(node)) is not None:
            try:
                made = self._holds(copy) or self._make(copy)
                with self._changed:
                    if made:
                        self._made.add((copy.manifest.token, copy.weights_only))
                    else:
                        self._lost.add(copy.manifest.token)
            except Exception as error:  # raised by `check` in the main thread
                with self._changed:
                    self._failure, self._failed_at = error, copy.path

    def _next(self, node: str) -> Copy | None:
        """Wait for the next copy of a node; None: there will be no more."""
        with self._changed:
            self._current.pop(node, None)
            self._changed.notify_all()
            while not self._closed and self._failure is None:
                found = next((copy for copy in self._scheduled if self._node_of(copy) == node), None)
                if found is not None:
                    self._scheduled.remove(found)
                    self._current[node] = found
                    return found
                self._changed.wait()
            return None

    def _make(self, copy: Copy) -> bool:
        manifest = copy.manifest
        if manifest.node in (None, self._here) or not is_alive(manifest.node):
            # A state that an earlier run has left in this memory bears the id of a node of a Ray that is gone.
            return make_copy(self._study, self._storage, copy)
        return bool(run_on_node(manifest.node, make_copy, self._study, self._storage, copy))

    def _holds(self, copy: Copy) -> bool:
        return self._storage.holds(copy.path, copy.manifest, weights_only=copy.weights_only)


def drop_states(study: Path, states: Sequence[str]) -> None:
    """Free the memory of these states; called on their node."""
    shared = SharedMemory(study)
    for state in states:
        shared.drop(state)
    shared.close()


def remove_study(study: Path) -> None:
    """Free all memory of the study; called on each node at its end."""
    SharedMemory(study).remove()
