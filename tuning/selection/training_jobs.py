"""Runs trainings and evaluations after a search under the controller of trials, as many at a time as there are slots.

In: jobs, each a call in a worker's process. Out: the end of each, as it comes. They are trials to Tune, first in first
out; `tuning.supervision.job_supervisor` says what becomes of one whose process hangs, dies or loses its node.
Nothing of it is resumed: the resume plan of the experiment says which jobs are owed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cluster.capacity import ClusterError
from trainables.worker.job_slot import NUMBER, JobCall, job_trainable
from trainables.worker.team import builder, workers_for
from tuning.errors import Interrupted
from tuning.spec.models import ExperimentSpec
from tuning.supervision.job_supervisor import JobEnd, JobEnds, JobSupervisor
from tuning.supervision.rounds import run_rounds
from tuning.supervision.shared_slots import SharedSlots
from tuning.supervision.supervisor import NodesLost
from tuning.supervision.watchdog import heartbeat_of
from tuning.tune_compat.slot_pool import Crew, SlotPool
from tuning.tune_compat.study_actors import StudyActors
from tuning.tune_compat.tune_run import TrialsPlan, make_controller

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

    ends, pool = JobEnds(pass_on), SlotPool()
    with TemporaryDirectory(prefix="tunefleet-") as folder:
        work = _Jobs(jobs, spec, session, ends, pool, folder)
        try:
            run_rounds(iter([work, None]).__next__, SharedSlots(session, pool), pool)
            if stopped := not work.ended:
                work.controller.cleanup()
        except Exception:
            if not work.ended:
                work.controller.cleanup()
            pool.close()
            raise
        pool.close()
    if stopped:
        raise Interrupted(f"{spec.name}: stopped with {ends.ended} of {len(jobs)} {called} ended; everything is kept")


class _Jobs:
    """The jobs of one call while they run: a `tuning.supervision.rounds.Work`."""

    def __init__(
        self,
        jobs: Sequence[TrainingJob[K]],
        spec: ExperimentSpec,
        session: Session,
        ends: JobEnds,
        pool: SlotPool,
        folder: str,
    ) -> None:
        heartbeat, workers = heartbeat_of(spec), workers_for(spec.trainable, session.resources.gpus)
        make = builder(workers, heartbeat, session.devices_per_trial)
        plan = TrialsPlan(
            name="jobs",
            trainable=job_trainable([job.call for job in jobs], make, heartbeat),
            folder=folder,
            resources=session.resources.to_ray(workers),
            callbacks=[ends],
            param_space={NUMBER: {"grid_search": list(range(len(jobs)))}},
        )
        self.most_slots, self.spare_slots, self.ended = len(jobs), 0, False
        self.controller = make_controller(
            plan,
            supervisor=JobSupervisor(ends, [job.call.title for job in jobs], heartbeat),
            actors=StudyActors(pool, Crew(plan.name)),
        )

    def limit(self, trials: int) -> None:
        """Jobs are started one by one, as there are slots."""

    def give_slot(self) -> bool:
        """A job uses its slot to its end."""
        return False

    def charge(self, slots: int) -> None:
        """Each job has its own cost, whoever holds the other slots."""

    def finish(self) -> None:
        """Leave what Tune has kept of the jobs: each end has been passed on."""
        self.ended = True
        self.controller.cleanup()
