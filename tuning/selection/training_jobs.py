"""Runs trainings and evaluations after a search under the controller of trials, as many at a time as there are slots.

In: jobs, each a call in a worker's process. Out: the end of each, as it comes. One `tune.run` computes them, first in
first out; `tuning.supervision.job_supervisor` says what becomes of one whose process hangs, dies or loses its node.
Nothing of it is resumed: the resume plan of the experiment says which jobs are owed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cluster.capacity import ClusterError
from cluster.ray_compat.leaks import LeakCheck
from trainables.worker.job_slot import NUMBER, JobCall, job_trainable
from trainables.worker.team import builder, workers_for
from tuning.errors import Interrupted
from tuning.spec.models import ExperimentSpec
from tuning.supervision.job_supervisor import JobEnd, JobEnds, JobSupervisor
from tuning.supervision.stop_signals import stopped_during
from tuning.supervision.supervisor import ClusterCheck, NodesLost
from tuning.supervision.watchdog import heartbeat_of
from tuning.tune_compat.controller import use_controller
from tuning.tune_compat.tune_run import run_quietly

if TYPE_CHECKING:
    from cluster.session import Session

K = TypeVar("K")


class JobLost(ClusterError):
    """A job has lost one node after the other. It has not failed: a resume begins it again."""


@dataclass(frozen=True)
class TrainingJob(Generic[K]):
    """A call in a worker's process, and what the caller knows it by."""

    key: K
    call: JobCall


@dataclass(frozen=True)
class JobResult(Generic[K]):
    """A job that has ended, with its value or its error."""

    key: K
    lost: float  # seconds in processes that have died
    value: Any = None
    error: Exception | None = None

    def result(self) -> Any:
        """Return what its function has returned.

        Raises:
            JobLost: it has not failed; a resume begins it again.
            RayError, WorkerDied: its process has died a second time; or one of those that compute it together.
            Exception: what the function raised.
        """
        if self.error is not None:
            raise self.error
        return self.value


def run_jobs(
    jobs: Sequence[TrainingJob[K]],
    spec: ExperimentSpec,
    session: Session,
    receive: Callable[[JobResult[K]], None],
    *,
    called: str = "trainings",
) -> None:
    """Run `jobs`, started in their order; returns when all have ended.

    Args:
        spec: says what computes them, and how long a process may go without progress.
        receive: called with each job that has ended. What it raises ends the others where they are.
        called: what the jobs are, for people.

    Raises:
        Interrupted: stopped before that.
        Exception: what `receive` raises.
    """
    if not jobs:
        return

    def pass_on(end: JobEnd) -> None:
        job, error = jobs[end.number], end.error
        if isinstance(error, NodesLost):
            error = JobLost(f"{job.call.title}: {error}")
        receive(JobResult(job.key, end.lost, end.value, error))

    ends, heartbeat = JobEnds(pass_on), heartbeat_of(spec)
    supervisor = JobSupervisor(ends, [job.call.title for job in jobs], _limit(session), heartbeat)
    workers = workers_for(spec.trainable, session.resources.gpus)
    trainable = job_trainable([job.call for job in jobs], builder(workers, heartbeat), heartbeat)
    with TemporaryDirectory(prefix="tunefleet-") as folder, use_controller(supervisor):
        stopped = stopped_during(
            functools.partial(
                run_quietly,
                trainable,
                name="jobs",
                storage_path=folder,
                config={NUMBER: {"grid_search": list(range(len(jobs)))}},
                max_concurrent_trials=session.limit,
                resources_per_trial=session.resources.to_ray(workers),
                callbacks=[ends],
            )
        )
    if stopped:
        raise Interrupted(f"{spec.name}: stopped with {ends.ended} of {len(jobs)} {called} ended; everything is kept")


def _limit(session: Session) -> ClusterCheck:
    """Return the check of the cluster: how many jobs it takes now, and None on a local Ray, which does not change."""
    leaks = LeakCheck()

    # Each training has its own cost, whoever holds the other slots.
    def limit(held: int, held_now: Callable[[], int]) -> int | None:
        leaks.look()
        return None if session.address is None else session.refreshed().limit

    return limit
