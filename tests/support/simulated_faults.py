"""Faults that befall one process of a simulated study, at a moment of its trial that has a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ray.exceptions import OutOfMemoryError

from trainables.machine.oom_probe import OomEvidence
from trainables.worker.job_slot import JobCall
from tuning.testing.simulated_process import JOB
from tuning.testing.simulated_ray import SimulatedActor, SimulatedRay

COSTS = {"save": 4.0, "restore": 4.0, "reset": 4.0}  # for `simulated_ray`: so that each of them can be interrupted


def job_of(actor: SimulatedActor, method: str) -> JobCall | None:
    """Returns the job after a search that `method` of the process computes; None: it computes something else."""
    return actor.instance.call if method == JOB else None


class Moment(NamedTuple):
    """The moment at which the process of a trial that has reported `epoch` (None: any number) computes `method`."""

    method: str
    epoch: float | None = None


MOMENTS = {
    "as it starts": Moment("__init__"),
    "as it is handed another trial": Moment("reset"),
    "in the first epoch": Moment("train", 0),
    "at the first checkpoint": Moment("save", 1),
    "in the third epoch": Moment("train", 2),
    "at the third checkpoint": Moment("save", 3),
    "in the last epoch": Moment("train", 3),
    "at the last checkpoint": Moment("save", 4),
}


def befall(
    ray: SimulatedRay,
    moment: Moment,
    happens: Callable[[SimulatedActor], None],
    *,
    times: int = 1,
    seconds: float = 2.0,
) -> list[str]:
    """Lets `happens(process)` come true the first `times` that one trial comes to `moment`, `seconds` into it.

    The trial is the first that comes there; a process that only starts has no trial yet, so there it may be another one
    each time.

    Returns:
        The trial's id as often as it has happened; it fills while the simulation runs.
    """
    reported: dict[str, float] = {}
    befallen: list[str] = []

    def told(actor: SimulatedActor, method: str, value: object) -> None:
        if method == "train" and isinstance(value, dict):
            reported[actor.trial] = value["epoch"]

    def begins(actor: SimulatedActor, method: str) -> None:
        if method != moment.method or len(befallen) == times or (befallen and befallen[0] != actor.trial):
            return
        if moment.epoch is None or reported.get(actor.trial, 0.0) == moment.epoch:
            befallen.append(actor.trial)
            ray.at(ray.seconds + seconds, lambda: happens(actor))

    ray.after(told)
    ray.before(begins)
    return befallen


KERNEL = OomEvidence(killed=True, held=3 * 2**30, limit=4 * 2**30, limited_by="cgroup")
BY_KERNEL = "the kernel killed its process: it held 3.00 GiB when last looked at, of 4.00 GiB that its cgroup may have"
BY_MONITOR = "Ray's memory monitor killed its process: it held 3.25 GiB, and node b used 60.80 of 64.00 GiB"


def by_kernel(ray: SimulatedRay, actor: SimulatedActor) -> None:
    """Kills a process as its node's kernel does for want of memory."""
    ray.kill(actor, memory=KERNEL)


def by_monitor(ray: SimulatedRay, actor: SimulatedActor) -> None:
    """Kills a process as Ray's memory monitor does, which says so at length."""
    told = (
        "Memory on the node (IP: b, ID: 62) was 60.80GB used / 64.00GB limit (0.950000), which exceeds the threshold.\n"
        f"Slot:Actor({actor.id}), pid={actor.process}, actual memory used=3.25GB, worker ID=77)\n"
        "Actor(another), pid=7, actual memory used=9.99GB, worker ID=78)"
    )
    ray.kill(actor, error=OutOfMemoryError(told))
