"""Nodes, processes and their calls in virtual time: what `simulated_ray` lets Ray's functions do.

A process is an object of this one. Its calls run one after the other, each when its turn comes; a call is computed at
its beginning, and takes the seconds that it sleeps by the clock (`trainables.machine.clock`). Events of the same moment
happen in the order in which they were asked for, so a simulation repeats exactly.
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

EPOCH = 1_700_000_000.0  # seconds since 1970 at which each simulation begins
BEGINNING = 1000.0  # on the monotonic clock
FIRST_PROCESS = 10**9  # number of the first simulated process: no real one has such


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
    """What a call will return, as an ObjectRef of Ray's.

    Attributes:
        order: among all that are ready; None: not ready yet.
    """

    def __init__(self, order: int | None = None, value: Any = None, error: Exception | None = None) -> None:
        self.order, self.value, self.error = order, value, error

    def __reduce__(self) -> tuple[Any, ...]:
        return Reference, (self.order, self.value, self.error)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What `isinstance` sees, by which Tune tells what it has asked for from what it has got."""
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
    node: SimulatedNode | None = None  # None: there is no room for it yet
    instance: Any = None
    alive: bool = True
    started: bool = False
    error: Exception | None = None  # with which it has ended
    tasks: deque[_Task] = field(default_factory=deque)  # the one that it computes first
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

    @property
    def works(self) -> bool:
        """Whether it goes on."""
        return self.alive and self.hung_since is None


class PowerCut(BaseException):
    """The driver's end, raised where it waits for Ray. No `except Exception` stops it."""


class _Here(threading.local):
    """What runs in this thread: an actor, a task on a node, or the driver."""

    actor: SimulatedActor | None = None
    node: SimulatedNode | None = None


class SimulatedCluster:
    """The cluster and its clock. It is a `trainables.machine.clock.Clock`.

    Args:
        start_seconds: of one process after the other, in the order in which they get a node; the last for all others.
        tick, costs, passed: as of `simulated_ray`.
        folder: an empty one, for what is in the memory of nodes that are not the driver's.

    Attributes:
        actors: all that were ever started, in that order.
        calls: (seconds since the beginning, trial, method) of each call that has ended well.
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
        self._now, self._ahead = BEGINNING, 0.0  # `_ahead`: of the call that is computed now
        self._start_seconds, self._tick, self._costs, self._folder = deque(start_seconds), tick, dict(costs), folder
        self._passed = passed
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        self._here, self._thread = _Here(), threading.get_ident()
        self._watchers: list[Callable[[SimulatedActor, str, Any], None]] = []
        self._begin_watchers: list[Callable[[SimulatedActor, str], None]] = []
        self._slept_at = self._woke_at = float("-inf")  # `suspend`, on the monotonic clock
        self._asked: list[float] = []  # seconds of what `at` was told and has not happened
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
        """See `trainables.machine.clock.Clock`. A call takes longer by these; while the driver sleeps, others go on."""
        if self._here.actor is not None:
            self._ahead += seconds
        else:
            self._pass_time(self._now + seconds, lambda: False)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.monotonic() - BEGINNING

    # What a test lets happen

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Call `what` at that moment, in seconds since the beginning. It has to come before the simulation ends."""
        self._asked.append(seconds)

        def happen() -> None:
            self._asked.remove(seconds)
            what()

        self._later(BEGINNING + seconds, happen)

    def before(self, what: Callable[[SimulatedActor, str], None]) -> None:
        """Call `what(actor, method)` as each call of an actor's method begins; `__init__` as its process starts."""
        self._begin_watchers.append(what)

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

    def kill(self, actor: SimulatedActor, *, memory: OomEvidence | None = None, error: Exception | None = None) -> None:
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
        """Cut the power of a node. Its processes end now, and its memory is lost unless it is the driver's; Ray knows
        of the node's end after `noticed_after` seconds."""
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
        """Let the network swallow all that a node tells and is told. Ray takes it for lost after `noticed_after`."""
        self._unreachable.add(node)
        for actor in self.actors:
            if actor.alive and actor.node is not None and actor.node.name == node:
                self.hang(actor, frozen=True)
        self._later(self._now + noticed_after, lambda: self.lose(node))

    def suspend(self, seconds: float) -> None:
        """Let the driver and all processes stand still for so long, as on a laptop whose lid is shut."""
        self._slept_at, self._now = self._now, self._now + seconds
        self._woke_at = self._now
        self._queue = [(when + seconds, order, what) for when, order, what in self._queue]

    def add(self, node: SimulatedNode) -> None:
        """Let a node join."""
        self.nodes.append(replace(node))
        self._fill()

    def hang(self, actor: SimulatedActor, *, frozen: bool = False) -> None:
        """From now on the process makes no progress; it tells so, unless it is `frozen`, as by SIGSTOP."""
        actor.hung_since, actor.frozen = self.monotonic(), frozen

    def end_driver(self, *, keeping: Path | None = None) -> None:
        """End the driver where it is.

        An exception lets the driver tidy up on its way out, which a kill would not.

        Args:
            keeping: a run folder. After the simulation it is as it was at this moment, and what its studies hold in
                the memory of the driver's node as well: as after a kill.

        Raises:
            PowerCut: always.
        """
        self._cut = True
        if keeping is not None:
            self._kept.append(SavedRun(keeping, self._folder / f"kept-{len(self._kept)}"))
        raise PowerCut(f"after {self.seconds:g} s")

    # What Ray does

    def _later(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(when, self._now), next(self._order), what))

    def _pass_time(self, until: float | None, enough: Callable[[], bool]) -> None:
        """Let happen what happens next, until it is enough, or time is up.

        Raises:
            RuntimeError: it can never be enough.
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
        """A process that starts as soon as a node has room for it."""
        number = next(self._numbers)
        actor = SimulatedActor(f"{number:032x}", FIRST_PROCESS + number, make, held)
        self.actors.append(actor)
        self._fill()
        return actor

    def _fill(self) -> None:
        """Give those that wait for room the first node that has it."""
        for actor in self.actors:
            if actor.alive and actor.node is None and (node := self._fitting(actor.held)) is not None:
                actor.node = node
                seconds = self._start_seconds[0]
                if len(self._start_seconds) > 1:
                    self._start_seconds.popleft()
                self._later(self._now + seconds, lambda actor=actor: self._start(actor))  # type: ignore[misc]
                self._tell_beginning(actor, "__init__")

    def _tell_beginning(self, actor: SimulatedActor, method: str) -> None:
        for told in self._begin_watchers:
            told(actor, method)

    def _fitting(self, wanted: Mapping[str, float]) -> SimulatedNode | None:
        """The first living node that has so much free."""
        for node in filter(self._reachable, self.nodes):
            held = [actor.held for actor in self.actors if actor.alive and actor.node is node]
            free = {"CPU": node.cpus, "GPU": node.gpus}
            free = {kind: amount - sum(one.get(kind, 0.0) for one in held) for kind, amount in free.items()}
            if (
                node.alive
                and self._reachable(node)
                and all(free.get(kind, 0.0) >= amount - 1e-6 for kind, amount in wanted.items())
            ):
                return node
        return None

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
        """The next task of an actor that has ended the one before; without any it ends if nobody can ask for more."""
        if actor.works and actor.started and not actor.busy:
            if actor.tasks:
                actor.busy = True
                self._later(self._now, lambda: self._compute(actor))
            elif not actor.wanted:
                self.kill(actor)

    def _let_go(self, actor: SimulatedActor) -> None:
        """Nobody holds a handle of it any more."""
        actor.wanted = False
        if actor.started or actor.tasks:
            self._go_on(actor)
        elif actor.alive:
            self.kill(actor)

    def _compute(self, actor: SimulatedActor) -> None:
        if actor.works:
            self._tell_beginning(actor, actor.tasks[0].method)
        if not actor.works:
            return
        task = actor.tasks[0]
        if task.method == "__ray_terminate__":
            self.kill(actor)
            return
        if task.method == "reset":
            actor.begun, actor.epoch = False, 0.0

        def call() -> Any:
            if task.method == "__ray_ready__":
                return True
            return copied(getattr(actor.instance, task.method)(*task.arguments, **task.options))

        value, error, took = self._computed(actor, task.method, call)

        def done() -> None:
            if actor.works and error is None:
                self._note(actor, task.method, value)
            if not actor.works:  # maybe for what somebody was told just now
                return
            actor.busy = False
            actor.tasks.popleft()
            self._deliver(task.reference, value, error)
            self._go_on(actor)

        self._later(self._now + took + self._costs.get(task.method, 0.0), done)

    def _computed(
        self, actor: SimulatedActor, method: str, call: Callable[[], Any]
    ) -> tuple[Any, Exception | None, float]:
        """What it returns, or raises as Ray hands it on; and how many seconds it takes."""
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
        for told in self._watchers:
            told(actor, method, value)

    def _end(self, actor: SimulatedActor, error: Exception) -> None:
        """All that was asked of it fails."""
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
        """The simulation is over: what `end_driver` keeps."""
        for one in self._kept:
            one.put_back()

    def _check_asked(self) -> None:
        """The simulation is over.

        Raises:
            AssertionError: something that should have happened has not.
        """
        if self._asked and not self._cut:
            raise AssertionError(f"the simulation ended after {self.seconds:g} s, before {min(self._asked):g} s came")


def copied(value: Any) -> Any:
    """A value as it arrives in, or from, another process."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(value))


def as_task_error(name: str, error: Exception, actor_id: str | None = None) -> Exception:
    """What Ray makes of an error that was raised in another process."""
    from ray.exceptions import RayTaskError

    made = RayTaskError(name, traceback.format_exc(), error, "simulated", 1, "127.0.0.1", actor_id=actor_id)
    as_cause: Exception = made.as_instanceof_cause()
    return as_cause


def node_died() -> Exception:
    """What Ray says of a task whose node is lost."""
    from ray.exceptions import NodeDiedError

    died: Exception = NodeDiedError("the task's node is lost")
    return died


def _failed_to_start(actor_id: str, error: Exception) -> Exception:
    from ray.exceptions import ActorDiedError, RayTaskError

    cause = getattr(error, "cause", error)
    died: Exception = ActorDiedError(RayTaskError("__init__", str(error), cause, "simulated", 1, "", actor_id=actor_id))
    return died
