"""Runs trainings outside Tune: each in a process that holds what a trial holds, as many at a time as there are slots.

A process that has done a job gets the next one, or ends, since on a cluster that has lost nodes others may wait for its
resources. A process whose job has raised is replaced. Jobs follow the rules of trials: a process without progress is
killed, the death of a process is examined, and a job that has lost its node starts again, which is not its failure. A
job whose process dies by itself, or for want of memory or of progress, starts once more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.capacity import ClusterError
from trainables.machine import clock
from trainables.machine.oom_probe import start_oom_probe
from trainables.progress import Heartbeat, active, tracker
from trainables.worker.team import WorkerDied, builder, workers_for
from tuning.spec.models import ExperimentSpec
from tuning.supervision import watchdog
from tuning.supervision.actor_failures import LOOK, ActorFailure, Diagnosis
from tuning.supervision.failures import TrialFailure
from tuning.tune_compat.heartbeats import beats_of, forget_beats
from tuning.tune_compat.processes import as_actor_error

if TYPE_CHECKING:
    from cluster.session import Session

RETRIES = 1  # of a job whose process has died by itself
NODES = 3  # that a job may lose in one run: it may be their undoing

logger = logging.getLogger(__name__)
K = TypeVar("K")


class NodesLost(ClusterError):
    """A job has lost one node after the other. Whether it is what brings them down, nobody knows: it has not failed."""


@dataclass(frozen=True)
class TrainingJob(Generic[K]):
    """A call in a worker's process: `function(*given, make)`, where `make` builds a Training there."""

    key: K
    title: str  # for people
    function: Callable[..., Any]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class JobResult(Generic[K]):
    """A job that has ended, with its value or its error."""

    key: K
    seconds: float  # since it was handed to Ray
    lost: float  # of those, in processes that have died
    value: Any = None
    error: Exception | None = None

    def result(self) -> Any:
        """Return what its function has returned.

        Raises:
            NodesLost: it has not failed; a resume begins it again.
            RayError, WorkerDied: its process has died, again and again; or one of those that compute it together.
            Exception: what the function raised.
        """
        if self.error is not None:
            raise self.error
        return self.value


class JobProcess:
    """A Ray actor that computes jobs, one after the other."""

    def __init__(self, make: Any, heartbeat: Heartbeat | None) -> None:
        self._make = make
        if heartbeat is not None:
            tracker.start_heartbeat(heartbeat, str(ray.get_runtime_context().get_actor_id()))

    def do(self, function: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        """Compute one job."""
        with active():
            tracker.begin()
            start_oom_probe()
            return function(*given, self._make)


@contextlib.contextmanager
def side_by_side(
    jobs: Iterable[TrainingJob[K]], spec: ExperimentSpec, session: Session
) -> Iterator[Iterator[JobResult[K]]]:
    """Run `jobs`, started in their order; yields each as it ends. What still runs when the block ends is cancelled.

    Args:
        spec: says what computes them, and how long a process may go without progress.
    """
    queue = _Queue(jobs, spec, session)
    try:
        yield queue.ended()
    finally:
        queue.close()


class _Slot:
    """A process and the resources that it holds."""

    def __init__(self, workers: int, session: Session, heartbeat: Heartbeat | None) -> None:
        resources, self._group = session.resources, None
        options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        if workers > 1:
            self._group = resources.to_ray(workers).to_placement_group()
            options = {"num_cpus": 0, "scheduling_strategy": PlacementGroupSchedulingStrategy(self._group)}
        self.process = ray.remote(JobProcess).options(**options).remote(builder(workers, heartbeat), heartbeat)
        self.id = str(self.process._actor_id.hex())

    def close(self) -> None:
        """End the process, and free its resources."""
        ray.kill(self.process)
        if self._group is not None:
            ray.util.remove_placement_group(self._group)


@dataclass
class _Begun(Generic[K]):
    """A job that has begun."""

    job: TrainingJob[K]
    since: float  # when it was handed to Ray first; these on the monotonic clock
    slot: _Slot
    started: float  # when it was handed to this slot
    lost: float = 0.0  # seconds in slots before
    deaths: int = 0
    nodes: int = 0
    hung: watchdog.HungActor | None = None  # killed for it, in this slot

    def ended(self, value: Any = None, error: Exception | None = None) -> JobResult[K]:
        return JobResult(self.job.key, clock.monotonic() - self.since, self.lost, value, error)


class _Queue(Generic[K]):
    """The jobs to come, the jobs that have begun, and their slots."""

    def __init__(self, jobs: Iterable[TrainingJob[K]], spec: ExperimentSpec, session: Session) -> None:
        self._left, self._session = iter(jobs), session
        self._workers, self._heartbeat = (
            workers_for(spec.trainable, session.resources.gpus),
            watchdog.heartbeat_of(spec),
        )
        self._watch = None if self._heartbeat is None else watchdog.Watchdog(self._heartbeat.seconds)
        self._running: dict[Any, _Begun[K]] = {}  # by Ray's reference to what comes of it
        self._died: list[tuple[_Begun[K], ActorFailure]] = []

    def ended(self) -> Iterator[JobResult[K]]:
        """Yield each job as it ends."""
        while True:
            while len(self._running) + len(self._died) < self._session.limit and (job := next(self._left, None)):
                self._begin(job, self._new_slot())
            if not self._running and not self._died:
                return
            for answer in self._answers():
                if (end := self._answered(self._running.pop(answer), answer)) is not None:
                    yield end
            died, self._died = self._died, []
            for begun, looked_into in died:
                if (diagnosis := looked_into.diagnose()) is None:
                    self._died.append((begun, looked_into))
                elif (end := self._settled(begun, diagnosis)) is not None:
                    yield end
            self._kill_hung()

    def close(self) -> None:
        """End all processes and forget their heartbeats."""
        for begun in self._running.values():
            begun.slot.close()
        if self._watch is not None:
            forget_beats(self._watch.seen)

    def _new_slot(self) -> _Slot:
        return _Slot(self._workers, self._session, self._heartbeat)

    def _begin(self, job: TrainingJob[K], slot: _Slot) -> None:
        now = clock.monotonic()
        self._hand_over(_Begun(job, now, slot, now))

    def _hand_over(self, begun: _Begun[K]) -> None:
        self._running[begun.slot.process.do.remote(begun.job.function, begun.job.given)] = begun

    def _answers(self) -> list[Any]:
        """Wait a moment for jobs to end; returns Ray's references of those that have."""
        if not self._running:
            clock.sleep(LOOK)
            return []
        patience = LOOK if self._watch is None else min(LOOK, self._watch.period)
        ready, _ = ray.wait(list(self._running), timeout=patience)
        return list(ready)

    def _answered(self, begun: _Begun[K], answer: Any) -> JobResult[K] | None:
        """Take an answer in; None: the process has died, and its death is to be examined."""
        try:
            value = ray.get(answer)
        except RayTaskError as error:
            begun.slot.close()  # a device may be of no use after it
            raised: Exception = error
            if isinstance(error.cause, Exception):
                raised = error.cause
                raised.__cause__ = error  # the traceback in the process, as a text
            return self._died_by_itself(begun, raised) if isinstance(raised, WorkerDied) else begun.ended(error=raised)
        except RayError as error:
            begun.slot.close()
            as_actors = as_actor_error(begun.slot.id, error)
            self._died.append((begun, ActorFailure(begun.job.title, as_actors, killed=begun.hung is not None)))
            return None
        if (job := next(self._left, None)) is None:
            begun.slot.close()
        else:
            self._begin(job, begun.slot)
        return begun.ended(value)

    def _settled(self, begun: _Begun[K], diagnosis: Diagnosis) -> JobResult[K] | None:
        """Decide on a job whose process has died; None: it starts again."""
        if not diagnosis.node_lost:
            hangs = begun.hung
            error = diagnosis.error if hangs is None else watchdog.NoProgress(error_msg=hangs.describe())
            return self._died_by_itself(begun, error)
        if begun.nodes == NODES:
            message = f"{begun.job.title}: lost {NODES + 1} nodes, at last {diagnosis.address}: too large for a node?"
            return begun.ended(error=NodesLost(message))
        begun.nodes += 1
        self._start_again(begun, f"node {diagnosis.address} is lost")
        return None

    def _died_by_itself(self, begun: _Begun[K], error: Exception) -> JobResult[K] | None:
        """Decide on a job whose process has died by itself; None: it starts again."""
        if begun.deaths == RETRIES:
            return begun.ended(error=error)
        begun.deaths += 1
        self._start_again(begun, TrialFailure.of(error).line)
        return None

    def _start_again(self, begun: _Begun[K], why: str) -> None:
        logger.warning("%s: %s. It starts again", begun.job.title, why)
        now = clock.monotonic()
        begun.lost += now - begun.started
        begun.slot, begun.started, begun.hung = self._new_slot(), now, None
        self._hand_over(begun)

    def _kill_hung(self) -> None:
        """Kill processes without progress. One without any heartbeat yet may still wait for its slot."""
        if self._watch is None or not self._watch.due(clock.monotonic()):
            return
        busy = {begun.slot.id: begun for begun in self._running.values() if begun.hung is None}
        beats = {actor: known for actor, known in beats_of(busy).items() if known}
        for one in self._watch.find_hung(clock.monotonic(), beats):
            busy[one.actor].hung = one
            watchdog.kill_processes(list(beats[one.actor].values()))
