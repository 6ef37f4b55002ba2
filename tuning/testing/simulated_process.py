"""The parts of a simulated cluster: its nodes, its processes, their calls, and Ray's errors about them."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.spec import UNITS
from trainables.machine.oom_probe import OomEvidence

JOB = "job"  # the name of the call in which a process computes a job after a search


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
    alive: bool = True  # as far as Ray knows
    reachable: bool = True  # it has power, and a network
    _held: dict[str, int] = field(default_factory=dict, init=False)  # by its processes, in steps of Ray's

    @property
    def id(self) -> str:
        """An id in Ray's form: 56 hexadecimal digits."""
        return self.name.encode().hex().ljust(56, "0")

    @property
    def free(self) -> dict[str, float]:
        """The amount that no process holds, by kind of resource."""
        return {
            kind: amount - self._held.get(kind, 0) / UNITS for kind, amount in (("CPU", self.cpus), ("GPU", self.gpus))
        }

    def hold(self, resources: Mapping[str, float], times: int = 1) -> None:
        """Counts what a process holds from now on; `times` is -1 when it has ended."""
        for kind, amount in resources.items():
            self._held[kind] = self._held.get(kind, 0) + times * round(amount * UNITS)

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
class Call:
    """A call of an actor's method, which waits for its turn or is computed."""

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
    memory: OomEvidence | None = None  # left on its node when the kernel killed it
    calls: deque[Call] = field(default_factory=deque)  # the one that it computes comes first
    busy: bool = False
    wanted: bool = True  # somebody holds a handle
    beats: bool = False  # it sends heartbeats
    hung_since: float | None = None
    frozen: bool = False  # stopped by SIGSTOP: it sends no heartbeats either
    begun: bool = False  # its trial has reported
    epoch: float = 0.0  # of its trial's last report

    @property
    def trial(self) -> str:
        """The id of the trial that it computes; empty if it has none yet."""
        return str(getattr(self.instance, "trial_id", "")) if self.instance is not None else ""

    @property
    def computes(self) -> str:
        """The method that it computes; JOB instead of "train" if that is a job after a search."""
        from trainables.worker.job_slot import JobSlot

        method = self.calls[0].method
        return JOB if method == "train" and isinstance(self.instance, JobSlot) else method

    @property
    def works(self) -> bool:
        """True if it is alive and makes progress."""
        return self.alive and self.hung_since is None


def copied(value: Any) -> Any:
    """Returns a value as it arrives in another process."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(value))


def task_error(name: str, error: Exception, actor_id: str | None = None) -> Exception:
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


def process_died(actor_id: str) -> Exception:
    """Returns Ray's error for a process that has ended unexpectedly."""
    from ray.exceptions import RayActorError

    died: Exception = RayActorError(actor_id, "The actor died unexpectedly before finishing this task.")
    return died


def start_failed(actor_id: str, error: Exception) -> Exception:
    """Returns Ray's error for a process whose object could not be made because of `error`."""
    from ray.exceptions import ActorDiedError, RayTaskError

    cause = getattr(error, "cause", error)
    died: Exception = ActorDiedError(RayTaskError("__init__", str(error), cause, "simulated", 1, "", actor_id=actor_id))
    return died
