"""Simulates Ray without processes, in virtual time: a whole experiment runs in a second, and repeats exactly.

In the block of `simulated_ray` Tune's own controller, its actor manager, our callbacks, schedulers and searchers run as
they are. What is simulated is below them: nodes and their memory, actors, tasks, the table of heartbeats, and the clock
(`trainables.machine.clock`). An actor is an object of this process. A call of its method runs when its turn comes, and
takes the seconds that it sleeps by the clock: `LearningCurve` with `model.seconds_per_epoch`. Time jumps to the next
event. A test causes events by the methods of `SimulatedCluster` and `VirtualTime`:

    with simulated_ray(SimulatedNode("a"), SimulatedNode("b", cpus=4)) as ray:
        ray.at(100.0, lambda: ray.lose("b"))  # a power cut there
        outcome = run_experiment(spec, progress=False)

Not simulated: function trainables (a function runs in a thread of Tune's, which knows no other clock), trials of
several processes, the time of the driver itself unless it is asked for, and progress within a call: a process hangs if
the test requests it, not because a step is long. Threads of the driver (copies of states, snapshots) are real ones.

`tuning.tune_compat.replaced_ray` puts it behind the calls of Ray that Tune and this package make.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from trainables.machine import clock
from trainables.machine.oom_probe import OomEvidence
from tuning.testing.heartbeat_table import HeartbeatTable
from tuning.testing.process_simulation import FIRST_PROCESS
from tuning.testing.simulated_cluster import PowerCut, SimulatedCluster
from tuning.testing.simulated_process import Reference, SimulatedActor, SimulatedNode, copied, node_died, task_error
from tuning.testing.virtual_time import simulated
from tuning.tune_compat.replaced_ray import READY, TERMINATE, Handle, replaced_ray

__all__ = ["PowerCut", "SimulatedActor", "SimulatedNode", "SimulatedRay", "simulated_ray"]

OTHER_THREAD = 0.005  # real seconds between two checks of a thread that waits for a node that does not answer


class _Method:
    def __init__(self, handle: _Handle, name: str) -> None:
        self._handle, self._name = handle, name  # whoever holds a method holds the actor

    def remote(self, *arguments: Any, **options: Any) -> Reference:
        """Submits a call, which runs when its turn comes."""
        return self._handle._ray._submit(self._handle._actor, self._name, arguments, options)


class _Handle(Handle):
    """The actor handle that `ActorClass.remote` returns."""

    def __init__(self, ray: SimulatedRay, actor: SimulatedActor) -> None:
        super().__init__(actor.id)
        self._ray, self._actor = ray, actor

    def __del__(self) -> None:
        self._ray._release(self._actor)

    def __getattr__(self, name: str) -> _Method:
        if name.startswith("_") and name not in (READY, TERMINATE):
            raise AttributeError(name)
        return _Method(self, name)


class SimulatedRay(SimulatedCluster):
    """Replaces Ray's functions; see `simulated_ray` for the arguments.

    Attributes:
        table: of keys and values, on the head.
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        start_seconds: Sequence[float],
        tick: float,
        costs: Mapping[str, float],
        folder: Path,
        passed: float,
    ) -> None:
        super().__init__(nodes, start_seconds, costs, folder, passed)
        self.table = HeartbeatTable(self)
        self._tick, self._thread = tick, threading.get_ident()

    @simulated
    def wait(
        self, references: Sequence[Reference], *, num_returns: int = 1, timeout: float | None = None, **_: Any
    ) -> tuple[list[Reference], list[Reference]]:
        """Replaces `ray.wait`. If nothing is ready, time advances to the next event, by a tick at most.

        References are returned in the order in which they became ready, as Tune shuffles its list.
        """
        waits = {id(one) for one in references if one.order is None}
        heard = len(self._delivered)

        def enough() -> bool:
            nonlocal heard
            waits.difference_update(self._delivered[heard:])
            heard = len(self._delivered)
            return len(references) - len(waits) >= num_returns

        if threading.get_ident() == self._thread:
            until = None if timeout is None else self._now + (0.0 if timeout == 0 else max(timeout, self._tick))
            self._advance(until, enough)
        elif not enough():
            time.sleep(OTHER_THREAD)  # virtual time is the driver's main thread's
        ready = sorted((one for one in references if one.order is not None), key=lambda one: one.order or 0)
        ready, of_ready = ready[:num_returns], {id(one) for one in ready[:num_returns]}
        return ready, [one for one in references if id(one) not in of_ready]

    @simulated
    def get(self, references: Any, *, timeout: float | None = None) -> Any:
        """Replaces `ray.get`."""
        if isinstance(references, list):
            return [self.get(one) for one in references]
        self.wait([references], timeout=None)
        if references.error is not None:
            raise references.error
        return references.value

    @simulated
    def put(self, value: Any) -> Reference:
        """Replaces `ray.put`."""
        reference = Reference()
        self._deliver(reference, value)
        return reference

    @simulated
    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]) -> _Handle:
        """Replaces `ActorClass.remote`."""
        held = {"CPU": options.get("num_cpus") or 0.0, "GPU": options.get("num_gpus") or 0.0}
        given, named = copied((args, kwargs))
        held = {kind: amount for kind, amount in held.items() if amount}
        return _Handle(self, self._create(lambda: cls(*given, **named), held))

    @simulated
    def call(self, function: Callable[..., Any], args: Any, kwargs: Any, options: Mapping[str, Any]) -> Reference:
        """Replaces `RemoteFunction.remote`. A call takes no time.

        If the node is cut off, or is lost meanwhile by another thread, the result is the loss of the node.
        """
        reference, pinned = Reference(), getattr(options.get("scheduling_strategy"), "node_id", self.nodes[0].id)
        (node,) = [one for one in self.nodes if one.id == pinned]
        if node.reachable:
            value, error = self._run_task(node, function, args, kwargs)
            if node.reachable:
                self._deliver(reference, value, error)
                return reference
        self._unanswered.append((node, reference))
        if not node.alive and reference.order is None:
            self._deliver(reference, error=node_died())
        return reference

    def _run_task(self, node: SimulatedNode, function: Any, args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
        before, self._current.node = self._current.node, node
        try:
            return copied(function(*args, **kwargs)), None
        except Exception as error:
            return None, task_error("task", error)
        finally:
            self._current.node = before

    @simulated
    def node_table(self) -> list[dict[str, Any]]:
        """Replaces `ray.nodes`."""
        return [node.to_ray() for node in self.nodes]

    @simulated
    def has_room(self, resources: Mapping[str, float]) -> bool:
        """True if a node has these resources free."""
        return self._node_with_room(resources) is not None

    @simulated
    def cluster_resources(self) -> dict[str, float]:
        """Replaces `ray.cluster_resources`."""
        living = [node for node in self.nodes if node.alive]
        return {"CPU": sum(node.cpus for node in living), "GPU": sum(node.gpus for node in living)}

    @simulated
    def available_resources(self) -> dict[str, float]:
        """Replaces `ray.available_resources`, which leaves out resources of which nothing is free."""
        free = [node.free for node in self.nodes if node.alive]
        found = {kind: sum(one[kind] for one in free) for kind in ("CPU", "GPU")}
        return {kind: amount for kind, amount in found.items() if amount > 0}

    def context(self) -> Any:
        """Replaces `ray.get_runtime_context`, for what runs now: the driver or one of its actors."""
        from ray import SCRIPT_MODE

        actor, node = self._current.actor, self._current_node
        return SimpleNamespace(
            get_node_id=lambda: node.id,
            get_actor_id=lambda: None if actor is None else actor.id,
            get_job_id=lambda: "01000000",
            worker=SimpleNamespace(mode=SCRIPT_MODE),  # all actors are objects of the driver's process
            gcs_address="simulated:1",
            namespace="simulated",
        )

    @simulated
    def state_of(self, actor_id: str) -> dict[str, Any]:
        """Returns whether an actor lives, and where it runs, as Ray's table of actors does."""
        actor = self._actor(actor_id)
        node = "" if actor.node is None else actor.node.id
        return {"State": "ALIVE" if actor.alive else "DEAD", "Address": {"NodeID": node}}

    @simulated
    def kill_actor(self, actor_id: str) -> None:
        """Replaces `ray.kill`."""
        self.kill(self._actor(actor_id))

    def _actor(self, actor_id: str) -> SimulatedActor:
        return self.actors[int(actor_id, 16) - 1]  # see `_create`

    def answers(self, address: str, port: int) -> bool:
        """True if the node with that address would answer."""
        return any(node.reachable for node in self.nodes if node.name == address)

    def oom_evidence(self, actor_id: str) -> OomEvidence | None:
        """Returns the evidence about memory that the process has left on its node."""
        return self._actor(actor_id).memory

    def kill_process(self, process: int) -> None:
        """Replaces SIGKILL to the process with that id."""
        self.kill(self.actors[process - FIRST_PROCESS - 1])

    def shared_memory(self, real: Path) -> Path:
        """Returns the shared memory of the node of what runs now; the driver's node is this machine."""
        node = self._current_node
        folder = real if node is self.nodes[0] else self._folder / node.name
        folder.mkdir(exist_ok=True)
        return folder

    def beat(self) -> None:
        """Makes the process that runs now send heartbeats from now on."""
        if self._current.actor is not None:
            self._current.actor.beats = True


@contextlib.contextmanager
def simulated_ray(
    *nodes: SimulatedNode,
    start_seconds: float | Sequence[float] = 5.0,
    tick: float = 5.0,
    costs: Mapping[str, float] | None = None,
    passed: float = 0.0,
    driver_time: bool = False,
) -> Iterator[SimulatedRay]:
    """Makes this process use a simulated Ray in the block, with virtual time in `trainables.machine.clock`.

    Args:
        nodes: of the cluster as it begins; by default one of 4 logical cores.
        start_seconds: until the process of an actor is up; several values are for one process after the other, the
            last one for all that follow.
        tick: seconds that Tune waits in one of its steps, at most. A budget is exceeded by that at most; a smaller
            value records the time of a study more often.
        costs: seconds that a call of an actor's method takes besides what it sleeps, by its name: `{"save": 2.0}`;
            "job" is the name of a job after a search.
        passed: seconds between the first simulation of a test and this one, which resumes it.
        driver_time: count the CPU time of the driver, too.

    Raises:
        AssertionError: at the end, an event that was requested by `at` has not happened.
    """
    starts = [start_seconds] if isinstance(start_seconds, float | int) else start_seconds
    with tempfile.TemporaryDirectory(prefix="tunefleet-simulated-") as place:
        folder, session = Path(place, "nodes"), Path(place, "session")
        folder.mkdir()
        session.mkdir()
        simulation = SimulatedRay(nodes or (SimulatedNode(),), starts, tick, costs or {}, folder, passed)
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(replaced_ray(simulation, session))
                for target, value in _own_names(simulation).items():
                    stack.enter_context(mock.patch(target, value))
                variables = {"TUNE_DISABLE_AUTO_INIT": "1", "TUNE_GLOBAL_CHECKPOINT_S": "0"}  # a snapshot of each event
                stack.enter_context(mock.patch.dict("os.environ", variables))
                stack.callback(logging.getLogger("ray").setLevel, logging.getLogger("ray").level)
                logging.getLogger("ray").setLevel(logging.WARNING)
                stack.enter_context(clock.use(simulation))
                if driver_time:
                    simulation.count_driver_time()
                yield simulation
        finally:
            simulation.restore_kept()
        simulation.require_requested()


def _own_names(simulation: SimulatedRay) -> dict[str, Any]:
    """Returns replacements for our own calls to nodes and processes, by the name under which each is looked up."""
    from trainables.machine.shared_memory import own_root

    def read_oom_probe(actor_id: str) -> OomEvidence | None:
        return simulation.oom_evidence(actor_id)

    def no_probe(name: str) -> None:
        raise OSError("a simulated process holds no memory")

    def kill_process(process: int) -> None:
        simulation.kill_process(process)

    return {
        "tuning.supervision.actor_failures.read_oom_probe": read_oom_probe,
        "tuning.supervision.watchdog.kill_process": kill_process,
        "trainables.machine.oom_probe.OomProbe": no_probe,
        "trainables.progress.ProgressTracker.start_heartbeat": lambda *_: simulation.beat(),
        "trainables.machine.shared_memory.own_root": lambda: simulation.shared_memory(own_root()),
    }
