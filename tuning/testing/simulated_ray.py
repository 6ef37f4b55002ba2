"""Ray without processes, in virtual time: a whole experiment in a second, the same to the last digit each time.

In the block of `simulated_ray` Tune's own controller, its manager of actors, our callbacks, schedulers and searchers
run as they are. What is simulated is below them: nodes, actors, tasks, the table of heartbeats, and the clock
(`trainables.clock`). An actor is an object of this process. A call of its method runs when its turn comes, and costs
the seconds that it sleeps by the clock: `LearningCurve` with `model.seconds_per_epoch`. Time jumps to what happens
next.

Only class trainables: a function runs in a thread of Tune's, which knows no other clock.

    with simulated_ray(SimulatedNode("a", cpus=4)) as ray:
        ray.at(100.0, lambda: ray.lose("a"))  # a power cut
        outcome = run_experiment(spec, progress=False)

Simulated are the calls of Ray 2.60 that Tune and this package make: `wait`, `get`, `put`, `kill`, `nodes`,
`cluster_resources`, `get_runtime_context`, actors, tasks, `state.actors` and `internal_kv`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import logging
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from trainables import clock
from trainables.heartbeat import Beat
from trainables.memory_mark import MemoryDeath

EPOCH = 1_700_000_000.0  # seconds since 1970 at which each simulation begins
FIRST_PROCESS = 10**9  # number of the first simulated process: no real one has such
BEAT = 0.5  # seconds between two beats of a simulated process


@dataclass
class SimulatedNode:
    """One machine of the simulated cluster; the first one is the driver's.

    Args:
        name: unique; also its address.
        cpus: logical cores.
        gpus: logical GPUs.
    """

    name: str = "a"
    cpus: float = 4.0
    gpus: float = 0.0
    alive: bool = True

    @property
    def id(self) -> str:
        """As Ray's ids of nodes are: 56 hexadecimal digits."""
        return self.name.encode().hex().ljust(56, "0")

    def to_ray(self) -> dict[str, Any]:
        """An entry of `ray.nodes()`."""
        return {
            "NodeID": self.id,
            "Alive": self.alive,
            "Resources": {"CPU": self.cpus, "GPU": self.gpus} if self.alive else {},
            "NodeManagerAddress": self.name,
            "NodeManagerPort": 1,
        }


class Reference:
    """What a call will return, as an ObjectRef of Ray's."""

    def __init__(self) -> None:
        self.ready = False
        self.value: Any = None
        self.error: Exception | None = None


@dataclass(eq=False)
class _Task:
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    reference: Reference


@dataclass(eq=False)
class SimulatedActor:
    """One process of the simulated cluster, and the object that lives in it."""

    id: str
    process: int
    node: SimulatedNode | None  # None: none has room for it yet
    cls: type
    held: Mapping[str, float]
    instance: Any = None
    alive: bool = True
    started: bool = False
    error: Exception | None = None  # with which it has ended
    tasks: deque[_Task] = field(default_factory=deque)
    busy: bool = False
    wanted: bool = True  # somebody holds a handle
    beats: bool = False
    hung_since: float | None = None
    frozen: bool = False  # stopped: it does not even tell that it stands still
    begun: bool = False
    epoch: float = 0.0

    @property
    def trial(self) -> str:
        """Id of the trial that it computes; empty: none yet."""
        return str(getattr(self.instance, "trial_id", "")) if self.instance is not None else ""


class _Id:
    def __init__(self, text: str) -> None:
        self._text = text

    def hex(self) -> str:
        return self._text


class _Method:
    def __init__(self, ray: SimulatedRay, actor: SimulatedActor, name: str) -> None:
        self._ray, self._actor, self._name = ray, actor, name

    def remote(self, *arguments: Any, **options: Any) -> Reference:
        """Have it called when its turn comes."""
        return self._ray._submit(self._actor, self._name, arguments, options)


class _Handle:
    """What `ActorClass.remote` returns."""

    def __init__(self, ray: SimulatedRay, actor: SimulatedActor) -> None:
        self._ray, self._actor = ray, actor
        self._actor_id = _Id(actor.id)

    def __del__(self) -> None:
        self._ray._let_go(self._actor)

    def __getattr__(self, name: str) -> _Method:
        if name.startswith("_") and name not in ("__ray_ready__", "__ray_terminate__"):
            raise AttributeError(name)
        return _Method(self._ray, self._actor, name)


class PowerCut(BaseException):
    """The driver's end, raised where it waits for Ray. No `except Exception` stops it."""


class SimulatedRay:
    """The cluster and its clock; see `simulated_ray`. It is a `trainables.clock.Clock`.

    Attributes:
        actors: all that were ever started, in that order.
        calls: (seconds since the beginning, trial, method) of each call that has ended well.
    """

    def __init__(
        self, nodes: Sequence[SimulatedNode], start_seconds: float, tick: float, costs: Mapping[str, float]
    ) -> None:
        self.nodes = list(nodes)
        self.actors: list[SimulatedActor] = []
        self.calls: list[tuple[float, str, str]] = []
        self.beginning = 1000.0
        self._now, self._ahead = self.beginning, 0.0  # `_ahead`: of what runs now, since its turn came
        self._start_seconds, self._tick, self._costs = start_seconds, tick, dict(costs)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._running: SimulatedActor | None = None
        self._ahead_of_call = 0.0  # seconds that the last call has taken
        self._table: dict[tuple[bytes, str], bytes] = {}
        self._watchers: list[Callable[[SimulatedActor, str, Any], None]] = []
        self._memory_deaths: dict[str, MemoryDeath] = {}
        self._unreachable: set[str] = set()
        self._unanswered: list[tuple[str, Reference]] = []  # calls to nodes that are lost
        self._slept_at = self._woke_at = float("-inf")
        self._unplaced: list[tuple[SimulatedActor, Callable[[], None]]] = []  # processes that no node has room for yet

    # The clock

    def monotonic(self) -> float:
        """See `trainables.clock.Clock`."""
        return self._now + self._ahead

    def time(self) -> float:
        """See `trainables.clock.Clock`."""
        return EPOCH + self.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `trainables.clock.Clock`: the call that runs now takes longer by these; the driver waits for them."""
        if self._running is not None:
            self._ahead += seconds
            return
        until = self._now + seconds
        while self._queue and self._queue[0][0] <= until:
            self._run_next()
        self._now = until

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.monotonic() - self.beginning

    # What a test lets happen

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Call `what` at that moment, in seconds since the beginning."""
        self._later(self.beginning + seconds, what)

    def after(self, what: Callable[[SimulatedActor, str, Any], None]) -> None:
        """Call `what(actor, method, value)` after each call of an actor's method, before its value is delivered."""
        self._watchers.append(what)

    def of(self, trial: str) -> SimulatedActor:
        """The process that computes the trial of that id now.

        Raises:
            LookupError: none does.
        """
        for actor in reversed(self.actors):
            if actor.alive and actor.trial == trial:
                return actor
        raise LookupError(f"no process computes {trial!r}")

    def kill(self, actor: SimulatedActor, *, memory: MemoryDeath | None = None, error: Exception | None = None) -> None:
        """End a process at once, as SIGKILL does.

        Args:
            memory: what its mark on the node says, if it is the kernel that kills it for want of memory.
            error: what Ray says of it, such as the OutOfMemoryError of its memory monitor.
        """
        from ray.exceptions import RayActorError

        if memory is not None:
            self._memory_deaths[actor.id] = memory
        told = RayActorError(actor.id, "The actor died unexpectedly before finishing this task.")
        self._end(actor, error or told)

    def lose(self, node: str, *, noticed_after: float = 0.0) -> None:
        """Cut the power of a node. Its processes end now; Ray knows of the node's end after `noticed_after` seconds."""
        lost, there = self._unreachable_from_now(node)

        def noticed() -> None:
            lost.alive = False
            self._end_calls_to(lost)

        for actor in there:
            self.kill(actor)
        if noticed_after:
            self._later(self._now + noticed_after, noticed)
        else:
            noticed()

    def cut_off(self, node: str, *, noticed_after: float) -> None:
        """Let the network swallow all that a node tells and is told. Ray takes it for lost after `noticed_after`."""
        _, there = self._unreachable_from_now(node)
        for actor in there:
            self.hang(actor, frozen=True)
        self._later(self._now + noticed_after, lambda: self.lose(node))

    def _unreachable_from_now(self, name: str) -> tuple[SimulatedNode, list[SimulatedActor]]:
        (node,) = [one for one in self.nodes if one.name == name]
        self._unreachable.add(name)
        return node, [actor for actor in self.actors if actor.node is node and actor.alive]

    def suspend(self, seconds: float) -> None:
        """Let the driver and all processes stand still for so long, as on a laptop whose lid is shut."""
        self._slept_at, self._now = self._now, self._now + seconds
        self._woke_at = self._now
        self._queue = [(when + seconds, order, what) for when, order, what in self._queue]

    def add(self, node: SimulatedNode) -> None:
        """Let a node join."""
        self.nodes.append(node)
        self._place()

    def hang(self, actor: SimulatedActor, *, frozen: bool = False) -> None:
        """From now on the process makes no progress; it tells so, unless it is `frozen`, as by SIGSTOP."""
        actor.hung_since, actor.frozen = self.monotonic(), frozen

    def end_driver(self) -> None:
        """End the driver where it is.

        Raises:
            PowerCut: always.
        """
        raise PowerCut(f"after {self.seconds:g} s")

    # What Ray does

    def _later(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self._now), next(self._order), what))

    def _run_next(self) -> None:
        when, _, what = heapq.heappop(self._queue)
        self._now = max(self._now, when)
        what()

    def _create(
        self, cls: type, arguments: Sequence[Any], options: Mapping[str, Any], held: Mapping[str, float]
    ) -> _Handle:
        number = next(self._numbers)
        actor = SimulatedActor(f"{number:032x}", FIRST_PROCESS + number, None, cls, held)
        self.actors.append(actor)
        given = _copied((tuple(arguments), dict(options)))

        def start() -> None:
            if not actor.alive:
                return
            value, error = self._called(actor, "__init__", lambda: cls(*given[0], **given[1]))
            if error is not None:
                self._end(actor, _failed_to_start(actor.id, error))
                return
            actor.instance, actor.started = value, True
            self._finish_after(self._ahead_of_call, lambda: self._go_on(actor))

        self._unplaced.append((actor, start))
        self._place()
        return _Handle(self, actor)

    def _place(self) -> None:
        """Start the processes that wait for a node, in their order, where there is room."""
        waiting, self._unplaced = [one for one in self._unplaced if one[0].alive], []
        for actor, start in waiting:
            actor.node = self.fitting(actor.held)
            if actor.node is None:
                self._unplaced.append((actor, start))
            else:
                self._later(self._now + self._start_seconds, start)

    def _submit(
        self, actor: SimulatedActor, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> Reference:
        reference = Reference()
        if not actor.alive:
            reference.ready, reference.error = True, actor.error
            return reference
        given, named = _copied((arguments, dict(options)))
        actor.tasks.append(_Task(method, given, named, reference))
        if actor.started and not actor.busy:
            self._go_on(actor)
        return reference

    def _go_on(self, actor: SimulatedActor) -> None:
        """The next task of an actor that has ended the one before."""
        if not actor.alive or not actor.tasks:
            self._let_go(actor, wanted=actor.wanted)
            return
        actor.busy = True
        self._later(self._now, lambda: self._compute(actor))

    def _let_go(self, actor: SimulatedActor, *, wanted: bool = False) -> None:
        """An actor of which nobody holds a handle ends when it has done what was asked of it."""
        actor.wanted = wanted
        if actor.alive and not wanted and not actor.tasks and not actor.busy:
            self.kill(actor)

    def _compute(self, actor: SimulatedActor) -> None:
        if not actor.alive:
            return
        task = actor.tasks.popleft()
        if task.method == "__ray_terminate__":
            actor.tasks.appendleft(task)
            self.kill(actor)
            return
        call = (lambda: True) if task.method == "__ray_ready__" else self._call_of(actor, task)
        value, error = self._called(actor, task.method, call)

        def done() -> None:
            if not actor.alive or actor.hung_since is not None:
                actor.tasks.appendleft(task)  # its answer never comes
                if not actor.alive:
                    self._fail(actor)
                return
            actor.busy = False
            if error is None:
                self._note(actor, task.method, value)
            if not actor.alive or actor.hung_since is not None:  # by whoever was told
                actor.tasks.appendleft(task)
                self._fail(actor)
                return
            task.reference.ready, task.reference.value, task.reference.error = True, value, error
            self._go_on(actor)

        self._finish_after(self._ahead_of_call + self._costs.get(task.method, 0.0), done)

    def _call_of(self, actor: SimulatedActor, task: _Task) -> Callable[[], Any]:
        return lambda: _copied(getattr(actor.instance, task.method)(*task.arguments, **task.options))

    def _called(self, actor: SimulatedActor, method: str, call: Callable[[], Any]) -> tuple[Any, Exception | None]:
        """What it returns, or raises as Ray hands it on; `_ahead_of_call` then says how long it took."""
        from ray.exceptions import RayTaskError

        self._running, self._ahead = actor, 0.0
        try:
            return call(), None
        except Exception as error:
            made = RayTaskError(method, traceback.format_exc(), error, "simulated", 1, "127.0.0.1", actor_id=actor.id)
            return None, made.as_instanceof_cause()
        finally:
            self._running, self._ahead_of_call, self._ahead = None, self._ahead, 0.0

    def _finish_after(self, seconds: float, what: Callable[[], None]) -> None:
        self._later(self._now + seconds, what)

    def _note(self, actor: SimulatedActor, method: str, value: Any) -> None:
        if method == "train":
            actor.begun, actor.epoch = True, float(value.get("epoch", 0.0))
        self.calls.append((self.seconds, actor.trial, method))
        for told in self._watchers:
            told(actor, method, value)

    def _end(self, actor: SimulatedActor, error: Exception) -> None:
        if actor.alive:
            actor.alive, actor.error = False, error
            self._place()
            if not actor.busy:
                self._fail(actor)
            else:
                self._later(self._now, lambda: self._fail(actor))

    def _fail(self, actor: SimulatedActor) -> None:
        """Everything that was asked of a process that has ended."""
        while not actor.alive and actor.tasks:
            reference = actor.tasks.popleft().reference
            reference.ready, reference.error = True, actor.error

    # What is called in place of Ray's

    def wait(
        self, references: Sequence[Reference], *, num_returns: int = 1, timeout: float | None = None, **_: Any
    ) -> tuple[list[Reference], list[Reference]]:
        """In place of `ray.wait`. Where nothing is ready, time goes on to what happens next, by a tick at most."""
        step = 0.0 if timeout == 0 else max(timeout or 0.0, self._tick)
        until = None if timeout is None else self._now + step
        while sum(one.ready for one in references) < num_returns:
            if not self._queue or (until is not None and self._queue[0][0] > until):
                if until is None:
                    raise RuntimeError("the simulation waits for what can never come")
                self._now = until
                break
            self._run_next()
        ready = [one for one in references if one.ready][:num_returns]
        return ready, [one for one in references if one not in ready]

    def get(self, references: Any, *, timeout: float | None = None) -> Any:
        """In place of `ray.get`."""
        if isinstance(references, list):
            return [self.get(one) for one in references]
        self.wait([references], timeout=None)
        if references.error is not None:
            raise references.error
        return references.value

    def put(self, value: Any) -> Reference:
        """In place of `ray.put`."""
        reference = Reference()
        reference.ready, reference.value = True, value
        return reference

    def cluster_resources(self) -> dict[str, float]:
        """In place of `ray.cluster_resources`."""
        living = [node for node in self.nodes if node.alive]
        return {"CPU": sum(node.cpus for node in living), "GPU": sum(node.gpus for node in living)}

    def context(self) -> Any:
        """In place of `ray.get_runtime_context`: of the actor that computes now, else of the driver."""
        actor = self._running
        node = self.nodes[0] if actor is None or actor.node is None else actor.node
        return SimpleNamespace(
            get_node_id=lambda: node.id,
            get_actor_id=lambda: None if actor is None else actor.id,
            get_job_id=lambda: "01000000",
            gcs_address="simulated:1",
            namespace="simulated",
        )

    def fitting(self, wanted: Mapping[str, float]) -> SimulatedNode | None:
        """The first living node that has so much free."""
        for node in self.nodes:
            held = [actor.held for actor in self.actors if actor.alive and actor.node is node]
            free = {"CPU": node.cpus, "GPU": node.gpus}
            for one in held:
                free = {kind: amount - one.get(kind, 0.0) for kind, amount in free.items()}
            if self._can_be_used(node) and all(free.get(kind, 0.0) >= amount - 1e-6 for kind, amount in wanted.items()):
                return node
        return None

    def _can_be_used(self, node: SimulatedNode) -> bool:
        return node.alive and node.name not in self._unreachable

    def call_task(self, function: Callable[[], Any], node: str) -> Reference:
        """Call `function` on the node of that id, now. One that is cut off answers with its loss."""
        from ray.exceptions import NodeDiedError

        reference = Reference()
        if any(one.id == node and not self._can_be_used(one) for one in self.nodes):
            self._unanswered.append((node, reference))
            reference.error = NodeDiedError("the task's node is lost")
            reference.ready = any(one.id == node and not one.alive for one in self.nodes)
            return reference
        reference.ready = True
        try:
            reference.value = function()
        except Exception as error:
            reference.error = error
        return reference

    def _end_calls_to(self, node: SimulatedNode) -> None:
        for where, reference in self._unanswered:
            reference.ready = reference.ready or where == node.id

    def state_of(self, actor_id: str) -> dict[str, Any]:
        """In place of `ray._private.state.actors` of one actor."""
        (actor,) = [one for one in self.actors if one.id == actor_id]
        node = "" if actor.node is None else actor.node.id
        return {"State": "ALIVE" if actor.alive else "DEAD", "Address": {"NodeID": node}}

    def answers(self, address: str, port: int) -> bool:
        """Whether the node of that address would answer."""
        return address not in self._unreachable

    def left_mark(self, actor_id: str) -> MemoryDeath | None:
        """What the process has left on its node about memory."""
        return self._memory_deaths.get(actor_id)

    def kill_process(self, process: int) -> None:
        """In place of SIGKILL to a process of that number."""
        for actor in self.actors:
            if actor.process == process and actor.alive:
                self.kill(actor)

    def beat(self) -> None:
        """The process that runs now tells from now on that it is well."""
        if self._running is not None:
            self._running.beats = True

    def _tell_beats(self, namespace: bytes) -> None:
        now = self.monotonic()
        now = self._slept_at if now - self._woke_at < BEAT else now  # of those just awake the newest beats are old
        for actor in self.actors:
            if actor.beats and actor.alive and actor.node is not None:
                told = actor.hung_since if actor.frozen and actor.hung_since is not None else now
                quiet = 0.0 if actor.hung_since is None else told - actor.hung_since
                number = int((told - self.beginning) / BEAT) + 1
                beat = Beat(number, actor.node.id, actor.process, quiet, actor.begun, actor.epoch, 0)
                self._table[namespace, f"{actor.id}/0"] = json.dumps(beat).encode()

    def kv_put(self, key: str | bytes, value: str | bytes, overwrite: bool = True, namespace: bytes = b"") -> bool:
        """In place of `internal_kv._internal_kv_put`."""
        self._table[namespace, _text(key)] = value if isinstance(value, bytes) else value.encode()
        return True

    def kv_get(self, key: str | bytes, namespace: bytes = b"") -> bytes | None:
        """In place of `internal_kv._internal_kv_get`."""
        return self._table.get((namespace, _text(key)))

    def kv_list(self, prefix: str | bytes, namespace: bytes = b"") -> list[bytes]:
        """In place of `internal_kv._internal_kv_list`."""
        self._tell_beats(namespace)
        return [key.encode() for space, key in self._table if space == namespace and key.startswith(_text(prefix))]

    def kv_del(self, key: str | bytes, del_by_prefix: bool = False, namespace: bytes = b"") -> int:
        """In place of `internal_kv._internal_kv_del`."""
        gone = [
            one for one in self._table
            if one[0] == namespace and (one[1].startswith(_text(key)) if del_by_prefix else one[1] == _text(key))
        ]  # fmt: skip
        for one in gone:
            del self._table[one]
        return len(gone)


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode()


def _copied(value: Any) -> Any:
    """As it arrives in, or from, another process."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(value))


def _failed_to_start(actor_id: str, error: Exception) -> Exception:
    from ray.exceptions import ActorDiedError

    died: Exception = ActorDiedError(error)
    died.actor_id = actor_id  # type: ignore[attr-defined]
    return died


@contextlib.contextmanager
def simulated_ray(
    *nodes: SimulatedNode, start_seconds: float = 5.0, tick: float = 5.0, costs: Mapping[str, float] | None = None
) -> Iterator[SimulatedRay]:
    """In the block this process uses a simulated Ray, and `trainables.clock` is its clock.

    Args:
        nodes: of the cluster as it begins; by default one of 4 logical cores.
        start_seconds: that the process of an actor takes to come up.
        tick: seconds that Tune waits at most, in one of its steps, for something to happen: a budget is overrun by
            so much at most.
        costs: seconds that a call of an actor's method takes besides what it sleeps, by its name: `{"save": 2.0}`.
    """
    simulation = SimulatedRay(nodes or (SimulatedNode(),), start_seconds, tick, costs or {})
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(tempfile.TemporaryDirectory(prefix="tunefleet-simulated-"))
        for target, value in _replaced(simulation, session).items():
            stack.enter_context(mock.patch(target, value))
        stack.enter_context(
            mock.patch.dict("os.environ", {"TUNE_DISABLE_AUTO_INIT": "1", "TUNE_GLOBAL_CHECKPOINT_S": "0"})
        )
        stack.enter_context(mock.patch.object(logging.getLogger("ray"), "level", logging.WARNING))
        stack.enter_context(clock.use(simulation))
        yield simulation


def _replaced(simulation: SimulatedRay, session: str) -> dict[str, Any]:
    """By the name under which it is looked up, what stands in for Ray."""
    from ray.air.execution.resources.fixed import FixedResourceManager
    from ray.air.execution.resources.request import ResourceRequest

    class Slots(FixedResourceManager):  # type: ignore[misc]
        """Hands out what the nodes have; an actor gets its node as it is made."""

        def __init__(self) -> None:
            self._allow_strict_pack = True
            self._requested_resources: list[ResourceRequest] = []
            self._used_resources: list[ResourceRequest] = []

        def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
            """See `FixedResourceManager`."""
            wanted = resource_request.required_resources
            return resource_request in self._requested_resources and simulation.fitting(wanted) is not None

        def acquire_resources(self, resource_request: ResourceRequest) -> Any:
            """See `FixedResourceManager`."""
            acquired = super().acquire_resources(resource_request)
            if acquired is not None:
                self._requested_resources.remove(resource_request)
            return acquired

    def create(cls: Any, args: Any = None, kwargs: Any = None, **options: Any) -> _Handle:
        held = {"CPU": options.get("num_cpus") or 0.0, "GPU": options.get("num_gpus") or 0.0}
        held = {kind: amount for kind, amount in held.items() if amount}
        return simulation._create(cls.__ray_metadata__.modified_class, args or (), kwargs or {}, held)

    def call(function: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Reference:
        where = getattr(options.get("scheduling_strategy"), "node_id", "")
        return simulation.call_task(lambda: function._function(*args or (), **kwargs or {}), where)

    def no_mark(name: str) -> None:
        raise OSError("a simulated process holds no memory")

    return {
        "ray.is_initialized": lambda: True,
        "ray.wait": simulation.wait,
        "ray.get": simulation.get,
        "ray.put": simulation.put,
        "ray.kill": lambda handle, **_: simulation.kill(handle._actor),
        "ray.nodes": lambda: [node.to_ray() for node in simulation.nodes],
        "ray.cluster_resources": simulation.cluster_resources,
        "ray.get_runtime_context": simulation.context,
        "ray.util.get_node_ip_address": lambda: "127.0.0.1",
        "ray._private.worker._global_node": SimpleNamespace(is_head=lambda: True, get_session_dir_path=lambda: session),
        "ray._private.state.actors": simulation.state_of,
        "ray.actor.ActorClass._remote": create,
        "ray.remote_function.RemoteFunction._remote": call,
        "ray.experimental.internal_kv._internal_kv_put": simulation.kv_put,
        "ray.experimental.internal_kv._internal_kv_get": simulation.kv_get,
        "ray.experimental.internal_kv._internal_kv_list": simulation.kv_list,
        "ray.experimental.internal_kv._internal_kv_del": simulation.kv_del,
        "ray.tune.execution.tune_controller.PlacementGroupResourceManager": Slots,
        # What asks nodes directly, and what a process does to itself.
        "tuning.run.ray_internals._told_dead": lambda actor_id: simulation.state_of(actor_id)["State"] == "DEAD",
        "tuning.run.ray_internals._answers": simulation.answers,
        # A task is made of a function, never of a method.
        "tuning.run.ended_process.read_mark": lambda actor_id: simulation.left_mark(actor_id),  # noqa: PLW0108
        "tuning.run.hung.kill_process": lambda process: simulation.kill_process(process),  # noqa: PLW0108
        "trainables.memory_mark.MemoryMark": no_mark,
        "trainables.heartbeat.Pulse.beat": lambda *_: simulation.beat(),
    }
