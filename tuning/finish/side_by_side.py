"""Trainings outside Tune: each a Ray task that holds what a trial holds, as many side by side as there are slots."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trainables.team import builder, workers_for

if TYPE_CHECKING:
    from cluster.session import Session

RETRIES = 1  # of a job whose process has died; its node may be lost

K = TypeVar("K")


@dataclass(frozen=True)
class Job(Generic[K]):
    """One call in a worker's process: `function(*given, make)`, where `make` builds a Training there."""

    key: K
    function: Callable[..., Any]
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Ended(Generic[K]):
    """A job that has ended, one way or the other."""

    key: K
    answer: Any  # `ray.get` returns it, or raises what the job ended in
    seconds: float  # since it was handed to Ray


@contextlib.contextmanager
def side_by_side(jobs: Iterable[Job[K]], trainable: str, session: Session) -> Iterator[Iterator[Ended[K]]]:
    """Run `jobs`, started in their order; each is told as it ends. What still runs when the block ends is cancelled.

    Args:
        trainable: decides how many processes compute one job.
    """
    import ray

    workers = workers_for(trainable, session.resources.gpus)
    running: dict[Any, tuple[K, Any, float]] = {}  # by answer: key, placement group, start

    def end(answer: Any) -> Ended[K]:
        key, group, begun = running.pop(answer)
        if group is not None:
            ray.util.remove_placement_group(group)
        return Ended(key, answer, time.monotonic() - begun)

    def ended() -> Iterator[Ended[K]]:
        left = iter(jobs)
        while True:
            while len(running) < session.limit and (job := next(left, None)) is not None:
                answer, group = _started(job, workers, session)
                running[answer] = (job.key, group, time.monotonic())
            if not running:
                return
            (first, *_), _ = ray.wait(list(running))
            yield end(first)

    try:
        yield ended()
    finally:
        for answer in list(running):
            ray.cancel(answer, force=True)
            end(answer)


def _started(job: Job[Any], workers: int, session: Session) -> tuple[Any, Any]:
    """The answer to come, and the placement group of a job that several processes compute."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    resources, group = session.resources, None
    options: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    if workers > 1:
        group = resources.to_ray(workers).to_placement_group()
        options = {"num_cpus": 0, "scheduling_strategy": PlacementGroupSchedulingStrategy(group)}
    remote = ray.remote(job.function).options(max_retries=RETRIES, **options)
    return remote.remote(*job.given, builder(workers)), group
