"""Several processes that compute one trial together, one GPU each, as one `Training`.

The slot is their leader: it holds no GPU and computes nothing, so it always answers. It calls each verb on all workers
at once and waits for whoever is first to fail: a dead worker is told as such, and nobody waits for it in vain. Workers
are Ray actors in the bundles of the trial's placement group, on one node, owned by the slot: they end with it. They
stay warm from trial to trial, and so does their process group; a trial is an object in each of them, and goes with the
leader's. After an error Tune replaces the slot, and with it the whole team.
"""

from __future__ import annotations

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
from trainables.machine.oom_probe import describe_monitor_kill, read_oom_probe, start_oom_probe
from trainables.progress import Heartbeat, active, tracker, waiting
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores, Training

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds for the reason of a failure to arrive: those that waited for a dead worker may fail before it


class WorkerDied(RuntimeError):
    """A process of a trial ended in the middle of it."""


class WorkerOutOfMemory(WorkerDied):
    """It was killed for want of memory."""


def workers_for(trainable: str, gpus: float) -> int:
    """How many processes compute one trial that holds so many GPUs.

    One per GPU where the trainable divides its work (`divides_rows`); else one, which holds them all and may use them
    as it likes.

    Raises:
        ValueError: `trainable` names nothing that can be run.
    """
    return int(gpus) if gpus >= 2 and divides_rows(trainable) else 1


def builder(workers: int, heartbeat: Heartbeat | None = None) -> Callable[[Params, FineTuneSpec], Training]:
    """What builds a Training that so many processes compute, each with the heartbeat."""
    return build_training if workers == 1 else WorkerTeam(workers, heartbeat)


class WorkerTeam:
    """Builds trainings, as `slot.build` does. Its workers start with the first one.

    Must be called in a process that runs in a placement group with a bundle for each worker.
    """

    def __init__(self, size: int, heartbeat: Heartbeat | None = None) -> None:
        self.size, self._heartbeat = size, heartbeat
        self._workers: list[Any] = []  # by rank
        self._ids: list[str] = []  # Ray's, of these actors
        self._folder: tempfile.TemporaryDirectory[str] | None = None  # where they have met
        self._numbers = itertools.count()

    def __call__(self, params: Params, spec: FineTuneSpec) -> Training:
        """A trial with these params in every worker.

        Raises:
            WorkerDied: one did not survive it.
        """
        if not self._alive():
            self._start()
        return TeamTraining(self, next(self._numbers), params, spec)

    def call(self, method: str, *args: Any) -> list[Any]:
        """Call `method` of every worker; returns what each does, by rank.

        Raises:
            WorkerDied: one of them has.
            Exception: what one of them raised.
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
        """The trial of that number has gone; returns at once."""
        for worker in self._workers:
            worker.forget.remote(number)

    def end(self) -> None:
        """Kill the workers, wherever they are."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []
        if self._folder is not None:
            self._folder.cleanup()

    def _alive(self) -> bool:
        """Whether there are workers, all of them. One may have died while its trial was held."""
        if not self._workers:
            return False
        answers = [worker.__ray_ready__.remote() for worker in self._workers]
        if all(_error(answer) is None for answer in answers):
            return True
        logger.warning("a worker has died between two trials: all %d of this slot are started anew", self.size)
        self.end()
        return False

    def _start(self) -> None:
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
            self._workers.append(ray.remote(Worker).options(**options).remote(rank))
        self._ids = self.call("join", self.size, Path(self._folder.name), self._heartbeat, _leader())

    def _short_of_memory(self, rank: int, error: Exception) -> str | None:
        """How a worker was killed for want of memory; None: it was not. It lived on the leader's node."""
        if not self._ids:  # it died before it was one
            return None
        if isinstance(error, OutOfMemoryError):
            return describe_monitor_kill(self._ids[rank], str(error))
        death = read_oom_probe(self._ids[rank])
        return death.describe(ray.util.get_node_ip_address()) if death is not None and death.killed else None

    def _reason(self, errors: Mapping[int, Exception]) -> Exception:
        """What to raise: a death before the complaints of those that noticed it, else the first error."""
        for rank, error in errors.items():
            if not isinstance(error, RayTaskError):
                who = f"worker {rank} of this trial's {self.size} died (rank, from 0)"
                short = self._short_of_memory(rank, error)
                told = " ".join(str(error).split())
                died = WorkerOutOfMemory(f"{who}: {short}") if short else WorkerDied(f"{who}: {told}")
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
    """A Training in several processes; see `slot.Training` for the verbs. Rank 0 writes and reports."""

    def __init__(self, team: WorkerTeam, number: int, params: Params, spec: FineTuneSpec) -> None:
        self._team, self._number = team, number
        weakref.finalize(self, team.forget, number).atexit = False
        self.horizon: float
        self.provenance: Mapping[str, Value]
        self.horizon, self.provenance = team.call("build", number, params, spec)[0]

    def advance(self, epochs: float) -> Evaluation:
        """Every worker trains on its rows; the scores are over all of them."""
        evaluation: Evaluation = self._call("advance", epochs)
        return evaluation

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Every worker scores its rows."""
        scores: Scores = self._call("score", split)
        return scores

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """All hand in their random states; rank 0 writes."""
        self._call("save", folder, weights_only=weights_only)

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Every worker reads the same folder."""
        self._call("restore", folder, weights_only=weights_only)

    def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        answer, self.horizon = self._team.call("call", self._number, verb, args, options)[0]
        return answer


class Worker:
    """One process of a team: an actor with the verbs of its trials."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._trainings: dict[int, Training] = {}  # the slot's own; a second while a lost state is made again

    def join(self, size: int, folder: Path, heartbeat: Heartbeat | None, leader: str) -> str:
        """Meet the others. `leader`: Ray's id of their leader's actor. Returns that of this one."""
        from trainables.distributed.replicas import join_process_group  # torch: in the workers, not in the slot

        if heartbeat is not None:
            tracker.beat(heartbeat, leader, self._rank + 1)
        with active():
            join_process_group(self._rank, size, folder)
        return str(ray.get_runtime_context().get_actor_id())

    def build(self, number: int, params: Params, spec: FineTuneSpec) -> tuple[float, dict[str, Value]]:
        """Its horizon and its provenance."""
        with active():
            tracker.begin()
            start_oom_probe()
            training = self._trainings[number] = build_training(params, spec)
        return training.horizon, dict(training.provenance)

    def call(self, number: int, verb: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, float]:
        """One of the four verbs: what that returns, and the horizon, which may have come nearer (early stopping)."""
        training = self._trainings[number]
        with active():
            answer = getattr(training, verb)(*args, **options)
        if isinstance(answer, Evaluation):
            tracker.report(answer.epoch)
        return answer, training.horizon

    def forget(self, number: int) -> None:
        """Free what the trial holds. It may never have been built here."""
        self._trainings.pop(number, None)
