"""Simulates nodes, processes and their calls in virtual time; `simulated_ray` puts it behind Ray's functions.

A process is an object of this one. Its calls run one after the other. A call is computed at its beginning, and takes
the seconds that it sleeps by the clock (`trainables.machine.clock`). Events of the same moment happen in the order in
which they were requested, so a simulation repeats exactly.
"""

from __future__ import annotations

import heapq
import itertools
import shutil
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainables.machine.oom_probe import OomEvidence
from tuning.testing.saved_run import SavedRun
from tuning.tune_compat.replaced_ray import READY, TERMINATE

EPOCH = 1_700_000_000.0  # seconds since 1970 at which each simulation begins
BEGINNING = 1000.0  # on the monotonic clock
JOB = "job"  # the name of the call in which a process computes a job after a search
FIRST_PROCESS = 10**9  # process id of the first simulated process; no real one is that high


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
        """An id in Ray's form: 56 hexadecimal digits."""
        return self.name.encode().hex().ljust(56, "0")

    def to_ray(self) -> dict[str, Any]:
        """Returns the entry of `ray.nodes()` for this node."""
        return {
            "NodeID": self.id,
            "Alive": self.alive,
            "Resources": {"CPU": self.cpus, "GPU": self.gpus} if self.alive else {},
            "NodeManagerAddress": self.name,
            "NodeManagerPort": 1,
        }


class Reference:
    """Stands for the result of a call, as an ObjectRef of Ray's does.

    Attributes:
        order: in which it became ready among all others; None: not ready yet.
    """

    def __init__(self, order: int | None = None, value: Any = None, error: Exception | None = None) -> None:
        self.order, self.value, self.error = order, value, error

    def __reduce__(self) -> tuple[Any, ...]:
        return Reference, (self.order, self.value, self.error)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class that `isinstance` sees: Tune tells references from values by it."""
        from ray import ObjectRef

        return ObjectRef  # type: ignore[no-any-return]


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
    make: Callable[[], Any]
    held: Mapping[str, float]
    node: SimulatedNode | None = None  # None: no node has room for it yet
    instance: Any = None
    alive: bool = True
    started: bool = False
    error: Exception | None = None  # with which the process has ended
    tasks: deque[_Task] = field(default_factory=deque)  # the one that it computes comes first
    busy: bool = False
    wanted: bool = True  # somebody holds a handle
    beats: bool = False
    hung_since: float | None = None
    frozen: bool = False  # stopped by SIGSTOP: it sends no heartbeats either
    begun: bool = False
    epoch: float = 0.0

    @property
    def trial(self) -> str:
        """The id of the trial that it computes; empty if it has none yet."""
        return str(getattr(self.instance, "trial_id", "")) if self.instance is not None else ""

    @property
    def computes(self) -> str:
        """The method that it computes; JOB instead of "train" if that is a job after a search."""
        from trainables.worker.job_slot import JobSlot

        method = self.tasks[0].method
        return JOB if method == "train" and isinstance(self.instance, JobSlot) else method

    @property
    def works(self) -> bool:
        """True if it is alive and makes progress."""
        return self.alive and self.hung_since is None


class PowerCut(BaseException):
    """Ends the driver; raised where it waits for Ray. No `except Exception` stops it."""


class _Here(threading.local):
    """The actor, or the node of the task, that runs in this thread; neither in the driver."""

    actor: SimulatedActor | None = None
    node: SimulatedNode | None = None


class SimulatedCluster:
    """The cluster and its clock. It is a `trainables.machine.clock.Clock`.

    Args:
        nodes: of the cluster as it begins.
        start_seconds: of the processes in the order in which they get a node; the last value is for all others.
        tick, costs, passed: as of `simulated_ray`.
        folder: an empty one, for the shared memory of nodes other than the driver's.

    Attributes:
        actors: all that were ever started, in that order.
        calls: (seconds since the beginning, trial, method) of each call that has ended without an error.
    """

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        start_seconds: Sequence[float],
        tick: float,
        costs: Mapping[str, float],
        folder: Path,
        passed: float = 0.0,
    ) -> None:
        self.nodes = [replace(node) for node in nodes]
        self.actors: list[SimulatedActor] = []
        self.calls: list[tuple[float, str, str]] = []
        self._now, self._ahead = BEGINNING, 0.0  # `_ahead`: seconds of the call that is computed now
        self._start_seconds, self._tick, self._costs, self._folder = deque(start_seconds), tick, dict(costs), folder
        self._passed = passed
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._here, self._thread = _Here(), threading.get_ident()
        self._watchers: list[Callable[[SimulatedActor, str, Any], None]] = []
        self._begin_watchers: list[Callable[[SimulatedActor, str], None]] = []
        self._slept_at = self._woke_at = float("-inf")  # `suspend`, on the monotonic clock
        self._asked: list[float] = []  # seconds of the events from `at` that have not happened
        self._table: dict[tuple[bytes, str], bytes] = {}  # of keys and values, by namespace and key
        self._memory_deaths: dict[str, OomEvidence] = {}
        self._unreachable: set[str] = set()  # names of nodes without power
        self._unanswered: list[tuple[SimulatedNode, Reference]] = []  # calls to such nodes
        self._kept: list[SavedRun] = []
        self._cut = False  # by `end_driver`

    # The clock

    def monotonic(self) -> float:
        """See `trainables.machine.clock.Clock`."""
        return self._now + self._ahead

    def time(self) -> float:
        """See `trainables.machine.clock.Clock`."""
        return EPOCH + self._passed + self.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `trainables.machine.clock.Clock`. A call takes longer by it; while the driver sleeps, others continue."""
        if self._here.actor is not None:
            self._ahead += seconds
        else:
            self._pass_time(self._now + seconds, lambda: False)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self.monotonic() - BEGINNING

    # Events that a test requests

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Calls `what` at that time, in seconds since the beginning, which must come before the simulation ends."""
        self._asked.append(seconds)

        def happen() -> None:
            self._asked.remove(seconds)
            what()

        self._later(BEGINNING + seconds, happen)

    def before(self, what: Callable[[SimulatedActor, str], None]) -> None:
        """Calls `what(actor, method)` when a call of an actor's method begins; `__init__` when its process starts."""
        self._begin_watchers.append(what)

    def after(self, what: Callable[[SimulatedActor, str, Any], None]) -> None:
        """Calls `what(actor, method, value)` after each call of an actor's method, before its value is delivered."""
        self._watchers.append(what)

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
        from ray.exceptions import RayActorError

        if memory is not None:
            self._memory_deaths[actor.id] = memory
        died = RayActorError(actor.id, "The actor died unexpectedly before finishing this task.")
        self._end(actor, error or died)

    def lose(self, node: str, *, noticed_after: float = 0.0) -> None:
        """Cuts the power of a node: its processes end now; its memory is lost unless it is the driver's.

        Ray notices the loss after `noticed_after` seconds.
        """
        (lost,) = [one for one in self.nodes if one.name == node]
        self._unreachable.add(node)

        def noticed() -> None:
            lost.alive = False
            for where, reference in self._unanswered:
                if where is lost and reference.order is None:
                    self._deliver(reference, error=node_died())

        for actor in [actor for actor in self.actors if actor.node is lost and actor.alive]:
            self.kill(actor)
        if lost is not self.nodes[0]:
            shutil.rmtree(self._folder / node, ignore_errors=True)
        if noticed_after:
            self._later(self._now + noticed_after, noticed)
        else:
            noticed()

    def cut_off(self, node: str, *, noticed_after: float) -> None:
        """Cuts a node off: no message reaches or leaves it. Ray declares it lost after `noticed_after` seconds."""
        self._unreachable.add(node)
        for actor in self.actors:
            if actor.alive and actor.node is not None and actor.node.name == node:
                self.hang(actor, frozen=True)
        self._later(self._now + noticed_after, lambda: self.lose(node))

    def start_other_job(self, **held: float) -> SimulatedActor:
        """Starts a process of another job, which holds `CPU` or `GPU` of a node until it is killed.

        It gets them as soon as a node has room.
        """
        return self._create(object, held)

    def suspend(self, seconds: float) -> None:
        """Suspends the driver and all processes for `seconds`, as on a laptop whose lid is closed."""
        self._slept_at, self._now = self._now, self._now + seconds
        self._woke_at = self._now
        self._queue = [(when + seconds, order, what) for when, order, what in self._queue]

    def add(self, node: SimulatedNode) -> None:
        """Adds a node to the cluster."""
        self.nodes.append(replace(node))
        self._fill()

    def hang(self, actor: SimulatedActor, *, frozen: bool = False) -> None:
        """Makes a process hang: it makes no progress, but sends heartbeats unless it is `frozen`, as by SIGSTOP."""
        actor.hung_since, actor.frozen = self.monotonic(), frozen

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

    # The work of Ray

    def _later(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self._now), next(self._order), what))

    def _pass_time(self, until: float | None, enough: Callable[[], bool]) -> None:
        """Processes events in order until `enough()` is true, or the time is `until`.

        Raises:
            RuntimeError: no event is left, and there is no `until`.
        """
        while not enough():
            if not self._queue or (until is not None and self._queue[0][0] > until):
                if until is None:
                    raise RuntimeError("the simulation waits for what can never come")
                self._now = max(self._now, until)
                return
            when, _, what = heapq.heappop(self._queue)
            self._now = max(self._now, when)
            what()

    def _create(self, make: Callable[[], Any], held: Mapping[str, float]) -> SimulatedActor:
        """Creates a process that starts as soon as a node has room for it."""
        number = next(self._numbers)
        actor = SimulatedActor(f"{number:032x}", FIRST_PROCESS + number, make, held)
        self.actors.append(actor)
        self._fill()
        return actor

    def _fill(self) -> None:
        """Assigns processes that wait to the first node with enough room."""
        for actor in self.actors:
            if actor.alive and actor.node is None and (node := self._fitting(actor.held)) is not None:
                actor.node = node
                seconds = self._start_seconds[0]
                if len(self._start_seconds) > 1:
                    self._start_seconds.popleft()
                self._later(self._now + seconds, lambda actor=actor: self._start(actor))  # type: ignore[misc]
                self._notify_begin(actor, "__init__")

    def _notify_begin(self, actor: SimulatedActor, method: str) -> None:
        for watch in self._begin_watchers:
            watch(actor, method)

    def _fitting(self, wanted: Mapping[str, float]) -> SimulatedNode | None:
        """Returns the first living node with enough free resources."""
        for node in filter(self._reachable, self.nodes):
            free = self._free(node)
            if (
                node.alive
                and self._reachable(node)
                and all(free.get(kind, 0.0) >= amount - 1e-6 for kind, amount in wanted.items())
            ):
                return node
        return None

    def _free(self, node: SimulatedNode) -> dict[str, float]:
        """Returns what no process holds of a node, by kind."""
        held = [actor.held for actor in self.actors if actor.alive and actor.node is node]
        free = {"CPU": node.cpus, "GPU": node.gpus}
        return {kind: amount - sum(one.get(kind, 0.0) for one in held) for kind, amount in free.items()}

    def _start(self, actor: SimulatedActor) -> None:
        if not actor.works:
            return
        value, error, took = self._computed(actor, "__init__", actor.make)
        actor.instance = value

        def started() -> None:
            if not actor.works:
                return
            if error is not None:
                self._end(actor, _failed_to_start(actor.id, error))
                return
            actor.started = True
            self._go_on(actor)

        self._later(self._now + took, started)

    def _submit(
        self, actor: SimulatedActor, method: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Reference:
        reference = Reference()
        if not actor.alive:
            self._deliver(reference, error=actor.error)
            return reference
        given, named = copied((arguments, options))
        actor.tasks.append(_Task(method, given, named, reference))
        self._go_on(actor)
        return reference

    def _deliver(self, reference: Reference, value: Any = None, error: Exception | None = None) -> None:
        reference.value, reference.error, reference.order = value, error, next(self._order)

    def _go_on(self, actor: SimulatedActor) -> None:
        """Starts the next task of an idle actor; without tasks the actor ends if nobody holds a handle of it."""
        if actor.works and actor.started and not actor.busy:
            if actor.tasks:
                actor.busy = True
                self._later(self._now, lambda: self._compute(actor))
            elif not actor.wanted:
                self.kill(actor)

    def _let_go(self, actor: SimulatedActor) -> None:
        """Called when nobody holds a handle of the actor any more."""
        actor.wanted = False
        if actor.started or actor.tasks:
            self._go_on(actor)
        elif actor.alive:
            self.kill(actor)

    def _compute(self, actor: SimulatedActor) -> None:
        if actor.works:
            self._notify_begin(actor, actor.computes)
        if not actor.works:
            return
        task = actor.tasks[0]
        if task.method == TERMINATE:
            self.kill(actor)
            return
        if task.method == "reset":
            actor.begun, actor.epoch = False, 0.0

        def call() -> Any:
            if task.method == READY:
                return True
            return copied(getattr(actor.instance, task.method)(*task.arguments, **task.options))

        method = actor.computes
        value, error, took = self._computed(actor, task.method, call)

        def done() -> None:
            if actor.works and error is None:
                self._note(actor, method, value)
            if not actor.works:  # a watcher may just have ended it
                return
            actor.busy = False
            actor.tasks.popleft()
            self._deliver(task.reference, value, error)
            self._go_on(actor)

        self._later(self._now + took + self._costs.get(method, 0.0), done)

    def _computed(
        self, actor: SimulatedActor, method: str, call: Callable[[], Any]
    ) -> tuple[Any, Exception | None, float]:
        """Runs a call; returns its value, its error as Ray reports it, and the seconds that it takes."""
        self._here.actor, self._here.node, self._ahead = actor, actor.node, 0.0
        try:
            value, error = call(), None
        except Exception as raised:
            value, error = None, as_task_error(method, raised, actor.id)
        finally:
            self._here.actor, self._here.node, took, self._ahead = None, None, self._ahead, 0.0
        return value, error, took

    def _note(self, actor: SimulatedActor, method: str, value: Any) -> None:
        if method == "train":
            actor.begun, actor.epoch = True, float(value.get("epoch", 0.0))
        self.calls.append((self.seconds, actor.trial, method))
        for watch in self._watchers:
            watch(actor, method, value)

    def _end(self, actor: SimulatedActor, error: Exception) -> None:
        """Ends an actor; all its tasks fail with `error`."""
        if actor.alive:
            actor.alive, actor.error = False, error
            while actor.tasks:
                self._deliver(actor.tasks.popleft().reference, error=error)
            self._fill()

    @property
    def _node_here(self) -> SimulatedNode:
        return self._here.node or self.nodes[0]

    def _reachable(self, node: SimulatedNode) -> bool:
        return node.name not in self._unreachable

    def _put_back(self) -> None:
        """Restores what `end_driver` keeps, at the end of the simulation."""
        for one in self._kept:
            one.restore()

    def _check_asked(self) -> None:
        """Checks, at the end of the simulation, that all requested events have happened.

        Raises:
            AssertionError: one of them has not.
        """
        if self._asked and not self._cut:
            raise AssertionError(f"the simulation ended after {self.seconds:g} s, before {min(self._asked):g} s came")


def copied(value: Any) -> Any:
    """Returns a value as it arrives in another process."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(value))


def as_task_error(name: str, error: Exception, actor_id: str | None = None) -> Exception:
    """Wraps an error that was raised in another process as Ray does."""
    from ray.exceptions import RayTaskError

    made = RayTaskError(name, traceback.format_exc(), error, "simulated", 1, "127.0.0.1", actor_id=actor_id)
    as_cause: Exception = made.as_instanceof_cause()
    return as_cause


def node_died() -> Exception:
    """Returns Ray's error for a task whose node is lost."""
    from ray.exceptions import NodeDiedError

    died: Exception = NodeDiedError("the task's node is lost")
    return died


def _failed_to_start(actor_id: str, error: Exception) -> Exception:
    from ray.exceptions import ActorDiedError, RayTaskError

    cause = getattr(error, "cause", error)
    died: Exception = ActorDiedError(RayTaskError("__init__", str(error), cause, "simulated", 1, "", actor_id=actor_id))
    return died
