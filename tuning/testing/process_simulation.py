"""Runs simulated processes: places them on nodes, and computes their calls one after the other, in virtual time.

A process is an object of this one. A call is computed at its beginning, and takes the seconds that it sleeps by the
clock (`trainables.machine.clock`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuning.testing.simulated_process import (
    Call,
    Reference,
    SimulatedActor,
    SimulatedNode,
    copied,
    process_died,
    start_failed,
    task_error,
)
from tuning.testing.virtual_time import VirtualTime, simulated
from tuning.tune_compat.replaced_ray import READY, TERMINATE

FIRST_PROCESS = 10**9  # process id of the first simulated process; no real one is that high


class _Current(threading.local):
    """The actor, or the node of the task, that runs in this thread; neither in the driver."""

    actor: SimulatedActor | None = None
    node: SimulatedNode | None = None


class ProcessSimulation(VirtualTime):
    """Nodes and their processes.

    Args:
        nodes: of the cluster as it begins.
        start_seconds: of the processes in the order in which they get a node; the last value is for all others.
        costs: seconds that a call takes besides what it sleeps, by the name of its method.
        passed: as of `VirtualTime`.

    Attributes:
        actors: all that were ever started, in that order.
        calls: (seconds since the beginning, trial, method) of each call that has ended without an error.
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        start_seconds: Sequence[float],
        costs: Mapping[str, float],
        passed: float,
    ) -> None:
        super().__init__(passed)
        self.nodes = [replace(node) for node in nodes]
        self.actors: list[SimulatedActor] = []
        self._unplaced: list[SimulatedActor] = []  # those of them that no node has had room for
        self.calls: list[tuple[float, str, str]] = []
        self._start_seconds, self._costs = deque(start_seconds), dict(costs)
        self._current = _Current()
        self._delivered: list[int] = []  # the identities of references, in the order in which they became ready
        self._at_begin: list[Callable[[SimulatedActor, str], None]] = []  # called when a call begins
        self._at_end: list[Callable[[SimulatedActor, str, Any], None]] = []  # called when one has ended

    def sleep(self, seconds: float) -> None:
        """See `trainables.machine.clock.Clock`. A call takes longer by it; while the driver sleeps, others continue."""
        if self._current.actor is not None:
            self._ahead += seconds
        else:
            super().sleep(seconds)

    @property
    def _current_node(self) -> SimulatedNode:
        return self._current.node or self.nodes[0]

    # Processes and their places

    def _create(self, make: Callable[[], Any], held: Mapping[str, float]) -> SimulatedActor:
        """Creates a process that starts as soon as a node has room for it."""
        number = len(self.actors) + 1
        actor = SimulatedActor(f"{number:032x}", FIRST_PROCESS + number, make, held)
        self.actors.append(actor)
        self._unplaced.append(actor)
        self._place_actors()
        return actor

    def _place_actors(self) -> None:
        """Assigns processes that wait to the first node with enough room."""
        for actor in list(self._unplaced):
            if (node := self._node_with_room(actor.held)) is not None:
                self._unplaced.remove(actor)
                actor.node = node
                node.hold(actor.held)
                starts = self._start_seconds
                seconds = starts.popleft() if len(starts) > 1 else starts[0]
                self._schedule(self._now + seconds, lambda actor=actor: self._start(actor))  # type: ignore[misc]
                self._notify_begin(actor, "__init__")

    def _node_with_room(self, wanted: Mapping[str, float]) -> SimulatedNode | None:
        """Returns the first living node with enough free resources."""
        for node in self.nodes:
            free = node.free
            if (
                node.alive
                and node.reachable
                and all(free.get(kind, 0.0) >= amount - 1e-6 for kind, amount in wanted.items())
            ):
                return node
        return None

    def _start(self, actor: SimulatedActor) -> None:
        """Makes the object of a process; its calls begin when that has taken its time."""
        if not actor.works:
            return
        value, error, took = self._run(actor, "__init__", actor.make)
        actor.instance = value

        def started() -> None:
            if not actor.works:
                return
            if error is not None:
                self._end(actor, start_failed(actor.id, error))
                return
            actor.started = True
            self._start_next(actor)

        self._schedule(self._now + took, started)

    def _end(self, actor: SimulatedActor, error: Exception | None = None) -> None:
        """Ends a process at once; all its calls fail with `error`, by default as after SIGKILL."""
        if actor.alive:
            actor.alive, actor.error = False, error or process_died(actor.id)
            if actor.node is None:
                self._unplaced.remove(actor)
            else:
                actor.node.hold(actor.held, -1)
            while actor.calls:
                self._deliver(actor.calls.popleft().reference, error=actor.error)
            self._place_actors()

    @simulated
    def _release(self, actor: SimulatedActor) -> None:
        """Called when nobody holds a handle of the actor any more."""
        actor.wanted = False
        if actor.started or actor.calls:
            self._start_next(actor)
        else:
            self._end(actor)

    # Calls

    @simulated
    def _submit(
        self, actor: SimulatedActor, method: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Reference:
        """Adds a call to those of an actor; returns the reference to its result."""
        reference = Reference()
        if not actor.alive:
            self._deliver(reference, error=actor.error)
            return reference
        given, named = copied((arguments, options))
        actor.calls.append(Call(method, given, named, reference))
        self._start_next(actor)
        return reference

    def _deliver(self, reference: Reference, value: Any = None, error: Exception | None = None) -> None:
        reference.value, reference.error, reference.order = value, error, len(self._delivered)
        self._delivered.append(id(reference))

    def _start_next(self, actor: SimulatedActor) -> None:
        """Starts the next call of an idle actor; without calls the actor ends if nobody holds a handle of it."""
        if actor.works and actor.started and not actor.busy:
            if actor.calls:
                actor.busy = True
                self._schedule(self._now, lambda: self._compute(actor))
            elif not actor.wanted:
                self._end(actor)

    def _compute(self, actor: SimulatedActor) -> None:
        """Computes the first call of an actor; its result is delivered when the call has taken its time."""
        if actor.works:
            self._notify_begin(actor, actor.computes)
        if not actor.works:  # whoever was notified may have ended it
            return
        call = actor.calls[0]
        if call.method == TERMINATE:
            self._end(actor)
            return
        if call.method == "reset":
            actor.begun, actor.epoch = False, 0.0

        def result() -> Any:
            if call.method == READY:
                return True
            return copied(getattr(actor.instance, call.method)(*call.arguments, **call.options))

        method = actor.computes
        value, error, took = self._run(actor, call.method, result)

        def done() -> None:
            if actor.works and error is None:
                self._notify_end(actor, method, value)
            if not actor.works:  # whoever was notified may have ended it
                return
            actor.busy = False
            actor.calls.popleft()
            self._deliver(call.reference, value, error)
            self._start_next(actor)

        self._schedule(self._now + took + self._costs.get(method, 0.0), done)

    def _run(
        self, actor: SimulatedActor, method: str, result: Callable[[], Any]
    ) -> tuple[Any, Exception | None, float]:
        """Computes a call; returns its value, its error as Ray reports it, and the seconds that it takes."""
        self._current.actor, self._current.node, self._ahead = actor, actor.node, 0.0
        try:
            value, error = result(), None
        except Exception as raised:
            value, error = None, task_error(method, raised, actor.id)
        finally:
            self._current.actor, self._current.node, took, self._ahead = None, None, self._ahead, 0.0
        return value, error, took

    def _notify_begin(self, actor: SimulatedActor, method: str) -> None:
        for notify in self._at_begin:
            notify(actor, method)

    def _notify_end(self, actor: SimulatedActor, method: str, value: Any) -> None:
        if method == "train":
            actor.begun, actor.epoch = True, float(value.get("epoch", 0.0))
        self.calls.append((self.seconds, actor.trial, method))
        for notify in self._at_end:
            notify(actor, method, value)
