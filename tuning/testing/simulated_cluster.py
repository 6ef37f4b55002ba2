"""The simulated cluster as a test acts on it: lost nodes, processes that are killed or hang, a driver without power.

`simulated_ray` puts it behind Ray's functions; `process_simulation` computes what its processes do.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.machine.oom_probe import OomEvidence
from tuning.testing.process_simulation import ProcessSimulation
from tuning.testing.saved_run import SavedRun
from tuning.testing.simulated_process import Reference, SimulatedActor, SimulatedNode, node_died


class PowerCut(BaseException):
    """Ends the driver; raised where it waits for Ray. No `except Exception` stops it."""


class SimulatedCluster(ProcessSimulation):
    """The cluster and its clock, with the methods by which a test acts on them.

    Args:
        nodes, start_seconds, costs, passed: as of `simulated_ray`.
        folder: an empty one, for the shared memory of nodes other than the driver's.
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        start_seconds: Sequence[float],
        costs: Mapping[str, float],
        folder: Path,
        passed: float,
    ) -> None:
        super().__init__(nodes, start_seconds, costs, passed)
        self._folder = folder
        self._unanswered: list[tuple[SimulatedNode, Reference]] = []  # calls to nodes that cannot be reached
        self._kept: list[SavedRun] = []
        self._cut = False  # by `end_driver`

    def before(self, callback: Callable[[SimulatedActor, str], None]) -> None:
        """Calls `callback(actor, method)` when an actor's method begins; `__init__` when its process starts."""
        self._at_begin.append(callback)

    def after(self, callback: Callable[[SimulatedActor, str, Any], None]) -> None:
        """Calls `callback(actor, method, value)` after an actor's method has ended, before its value is delivered."""
        self._at_end.append(callback)

    def of(self, trial: str) -> SimulatedActor:
        """Returns the process that computes the trial with that id now.

        Raises:
            LookupError: no process does.
        """
        for actor in reversed(self.actors):
            if actor.alive and actor.trial == trial:
                return actor
        raise LookupError(f"no process computes {trial!r}")

    def kill(self, actor: SimulatedActor, *, memory: OomEvidence | None = None, error: Exception | None = None) -> None:
        """Ends a process at once, as SIGKILL does.

        Args:
            actor: the process.
            memory: the evidence that it leaves on the node, if the kernel kills it because memory is short.
            error: Ray's error about it, such as the OutOfMemoryError of its memory monitor.
        """
        if memory is not None:
            actor.memory = memory
        self._end(actor, error)

    def hang(self, actor: SimulatedActor, *, frozen: bool = False) -> None:
        """Makes a process hang: it makes no progress, but sends heartbeats unless it is `frozen`, as by SIGSTOP."""
        actor.hung_since, actor.frozen = self.monotonic(), frozen

    def add(self, node: SimulatedNode) -> None:
        """Adds a node to the cluster."""
        self.nodes.append(replace(node))
        self._place_actors()

    def lose(self, node: str, *, noticed_after: float = 0.0) -> None:
        """Cuts the power of a node: its processes end now; its memory is lost unless it is the driver's.

        Ray notices the loss after `noticed_after` seconds.
        """
        lost = self._node(node)
        lost.reachable = False

        def noticed() -> None:
            lost.alive = False
            for where, reference in self._unanswered:
                if where is lost and reference.order is None:
                    self._deliver(reference, error=node_died())

        for actor in self._living_on(lost):
            self.kill(actor)
        if lost is not self.nodes[0]:
            shutil.rmtree(self._folder / node, ignore_errors=True)
        if noticed_after:
            self._schedule(self._now + noticed_after, noticed)
        else:
            noticed()

    def cut_off(self, node: str, *, noticed_after: float) -> None:
        """Cuts a node off: no message reaches or leaves it. Ray declares it lost after `noticed_after` seconds."""
        off = self._node(node)
        off.reachable = False
        for actor in self._living_on(off):
            self.hang(actor, frozen=True)
        self._schedule(self._now + noticed_after, lambda: self.lose(node))

    def _node(self, name: str) -> SimulatedNode:
        (found,) = [node for node in self.nodes if node.name == name]
        return found

    def _living_on(self, node: SimulatedNode) -> list[SimulatedActor]:
        return [actor for actor in self.actors if actor.alive and actor.node is node]

    def start_other_job(self, **held: float) -> SimulatedActor:
        """Starts a process of another job, which holds `CPU` or `GPU` of a node until it is killed.

        It gets them as soon as a node has room.
        """
        return self._create(object, held)

    def end_driver(self, *, keeping: Path | None = None) -> None:
        """Ends the driver where it is.

        An exception lets the driver clean up at its end, which a kill does not.

        Args:
            keeping: a run folder. After the simulation it is restored to this moment, with its studies' states in the
                shared memory of the driver's node, as after a kill.

        Raises:
            PowerCut: always.
        """
        self._cut = True
        if keeping is not None:
            self._kept.append(SavedRun(keeping, self._folder / f"kept-{len(self._kept)}"))
        raise PowerCut(f"after {self.seconds:g} s")

    def require_requested(self) -> None:
        """See `VirtualTime`. A driver that `end_driver` has ended may leave requested events undone."""
        if not self._cut:
            super().require_requested()

    def restore_kept(self) -> None:
        """Restores, at the end of the simulation, what `end_driver` has kept."""
        for one in self._kept:
            one.restore()
