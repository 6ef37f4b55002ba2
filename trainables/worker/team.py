"""Several processes, one GPU each, that compute one trial together as one `Training`.

The slot is their leader. It holds no GPU and computes nothing, so it always responds. It calls each method on all
workers at once and raises the first failure, so that nobody waits in vain for a dead worker. Workers are Ray actors in
the bundles of the trial's placement group, on one node; the slot owns them, and they end with it. Workers and their
process group are reused from trial to trial; each worker holds an object per trial, freed when the leader's is. After
an error Tune replaces the slot, and with it the whole team.
"""

from __future__ import annotations

import functools
import itertools
import logging
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.lookup import build_training, divides_rows
from trainables.machine.device_memory import set_allocator
from trainables.machine.devices import use_assigned_devices
from trainables.machine.oom_probe import describe_monitor_kill, read_oom_probe, start_oom_probe
from trainables.progress import Heartbeat, active, tracker, waiting
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores, Training

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds to wait for the cause: workers that waited for a dead one may fail before Ray reports its death


class WorkerDied(RuntimeError):
    """A worker process died during a trial."""


class WorkerOutOfMemory(WorkerDied):
    """A worker process was killed because memory ran out."""


def workers_for(trainable: str, gpus: float) -> int:
    """The number of processes that compute one trial with `gpus` GPUs.

    One per GPU if the trainable divides its rows (`lookup.divides_rows`); else one process, which holds all GPUs.

    Raises:
        ValueError: `trainable` names nothing that can be run.
    """
    return int(gpus) if gpus >= 2 and divides_rows(trainable) else 1


def builder(
    workers: int, heartbeat: Heartbeat | None = None, devices: float = 1
) -> Callable[[Params, FineTuneSpec], Training]:
    """Returns a function of params and spec that builds a Training in `workers` processes, each with the heartbeat.

    Args:
        workers: number of processes.
        heartbeat: how they send heartbeats; None: not at all.
        devices: that they hold together.
    """
    if workers > 1:
        return WorkerTeam(workers, heartbeat)
    return functools.partial(build_training, devices=devices)


class WorkerTeam:
    """Builds trainings as `lookup.build_training` does, in `size` workers, which start with the first training.

    Must be called in a process that runs in a placement group with a bundle for each worker.
    """

    def __init__(self, size: int, heartbeat: Heartbeat | None = None) -> None:
        self.size, self._heartbeat = size, heartbeat
        self._workers: list[Any] = []  # by rank
        self._ids: list[str] = []  # Ray's actor ids, by rank
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # for the rendezvous of the process group
        self._numbers = itertools.count()

    def __call__(self, params: Params, spec: FineTuneSpec) -> Training:
        """Builds a trial in every worker.

        Raises:
            WorkerDied: a worker died meanwhile.
        """
        if not self._alive():
            self._start(spec)
        return TeamTraining(self, next(self._numbers), params, spec)

    def call(self, method: str, *args: Any) -> list[Any]:
        """Calls `method` of every worker and returns the results by rank.

        Raises:
            WorkerDied: a worker died.
            Exception: what a worker raised.
        """
        answers = [getattr(worker, method).remote(*args) for worker in self._workers]
        left = answers
        while left:
            with waiting():  # each of them has a heartbeat of its own
                ready, left = ray.wait(left)
            if (error := _error(ready[0])) is not None:
                late, _ = ray.wait(left, num_returns=len(left), timeout=GRACE) if left else ([], [])
                errors = {ready[0]: error} | {answer: e for answer in late if (e := _error(answer)) is not None}
                self.end()  # those that are left wait for the one that failed
                raise self._reason({answers.index(answer): e for answer, e in errors.items()})
        results: list[Any] = ray.get(answers)
        return results

    def forget(self, number: int) -> None:
        """Frees the trial of that number in every worker; returns at once."""
        for worker in self._workers:
            worker.forget.remote(number)

    def end(self) -> None:
        """Kills the workers."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []
        if self._folder is not None:
            self._folder.cleanup()

    def _alive(self) -> bool:
        """True if all workers live. One may have died while its trial was paused."""
        if not self._workers:
            return False
        answers = [worker.__ray_ready__.remote() for worker in self._workers]
        if all(_error(answer) is None for answer in answers):
            return True
        logger.warning("a worker has died between two trials: all %d of this slot are started anew", self.size)
        self.end()
        return False

    def _start(self, spec: FineTuneSpec) -> None:
        group = ray.util.get_current_placement_group()
        if group is None or group.bundle_count != self.size:
            raise RuntimeError(f"a team of {self.size} needs a placement group with as many bundles, not {group}")
        self._folder = tempfile.TemporaryDirectory(prefix="tunefleet-", ignore_cleanup_errors=True)
        for rank, bundle in enumerate(group.bundle_specs):
            placed = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            options = {
                "num_cpus": bundle.get("CPU", 0),
                "num_gpus": bundle.get("GPU", 0),
                "scheduling_strategy": placed,
            }
            self._workers.append(ray.remote(Worker).options(**options).remote(rank, spec))
        self._ids = self.call("join", self.size, Path(self._folder.name), self._heartbeat, _leader())

    def _short_of_memory(self, rank: int, error: Exception) -> str | None:
        """Describes how the worker was killed because memory ran out; None: it was not. Workers share this node."""
        if not self._ids:  # it died before the team was complete
            return None
        if isinstance(error, OutOfMemoryError):
            return describe_monitor_kill(self._ids[rank], str(error))
        death = read_oom_probe(self._ids[rank])
        return death.describe(ray.util.get_node_ip_address()) if death is not None and death.killed else None

    def _reason(self, errors: Mapping[int, Exception]) -> Exception:
        """The error to raise: a worker's death rather than the errors it caused in others, else the first error."""
        for rank, error in errors.items():
            if not isinstance(error, RayTaskError):
                who = f"worker {rank} of this trial's {self.size} died (rank, from 0)"
                short = self._short_of_memory(rank, error)
                message = " ".join(str(error).split())
                died = WorkerOutOfMemory(f"{who}: {short}") if short else WorkerDied(f"{who}: {message}")
                died.__cause__ = error
                return died
        error = next(iter(errors.values()))
        if not isinstance(error, RayTaskError) or error.cause is None:
            return error
        raised: Exception = error.cause
        raised.__cause__ = error  # the traceback in the worker, as a text
        return raised


def _error(answer: Any) -> Exception | None:
    try:
        ray.get(answer)
    except RayError as error:
        failed: Exception = error
        return failed
    return None


def _leader() -> str:
    return str(ray.get_runtime_context().get_actor_id())


class TeamTraining:
    """A `Training` in several processes; see there for the methods. Rank 0 writes files and returns the results."""

    def __init__(self, team: WorkerTeam, number: int, params: Params, spec: FineTuneSpec) -> None:
        self._team, self._number = team, number
        weakref.finalize(self, team.forget, number).atexit = False
        self.horizon: float
        self.provenance: Mapping[str, Value]
        self.horizon, self.provenance = team.call("build", number, params, spec)[0]

    def advance(self, epochs: float) -> Evaluation:
        """Every worker trains on its rows; the metrics are over all rows."""
        evaluation: Evaluation = self._call("advance", epochs)
        return evaluation

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Every worker scores its rows."""
        scores: Scores = self._call("score", split)
        return scores

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Rank 0 writes the state, with the random states of all workers."""
        self._call("save", folder, weights_only=weights_only)

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Every worker restores from the same folder."""
        self._call("restore", folder, weights_only=weights_only)

    def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        answer, self.horizon = self._team.call("call", self._number, verb, args, options)[0]
        return answer


class Worker:
    """One process of a team: an actor that holds the trainings of its trials."""

    def __init__(self, rank: int, spec: FineTuneSpec) -> None:
        use_assigned_devices()
        set_allocator(expandable_segments=spec.expandable_segments)  # the process group uses CUDA
        self._rank, self._size = rank, 1
        self._trainings: dict[int, Training] = {}  # the slot's trial; a second one while a lost state is recomputed

    def join(self, size: int, folder: Path, heartbeat: Heartbeat | None, leader: str) -> str:
        """Joins the process group of the team.

        Args:
            size: number of workers.
            folder: for the rendezvous; the same for all workers.
            heartbeat: how to send heartbeats; None: not at all.
            leader: Ray's actor id of the slot.

        Returns:
            Ray's actor id of this worker.
        """
        from trainables.distributed.replicas import join_process_group  # torch: in the workers, not in the slot

        if heartbeat is not None:
            tracker.start_heartbeat(heartbeat, leader, self._rank + 1)
        self._size = size
        with active():
            join_process_group(self._rank, size, folder)
        return str(ray.get_runtime_context().get_actor_id())

    def build(self, number: int, params: Params, spec: FineTuneSpec) -> tuple[float, dict[str, Value]]:
        """Builds a trial; returns its horizon and provenance."""
        with active():
            tracker.begin()
            start_oom_probe()
            training = self._trainings[number] = build_training(params, spec, devices=self._size)
        return training.horizon, dict(training.provenance)

    def call(self, number: int, verb: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, float]:
        """Calls a method of a trial; returns its result and the horizon, which early stopping may have moved."""
        training = self._trainings[number]
        with active():
            answer = getattr(training, verb)(*args, **options)
        if isinstance(answer, Evaluation):
            tracker.report(answer.epoch)
        return answer, training.horizon

    def forget(self, number: int) -> None:
        """Frees a trial; it may never have been built here."""
        self._trainings.pop(number, None)
