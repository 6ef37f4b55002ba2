"""The private parts of Tune's controller that ours uses, one function per purpose.

Read against ray 2.60; `tuning.spec.validation.versions` refuses other minor releases at a run's start. The contract
tests of `tests/tuning/tune_compat` check what each function promises, on Tune's own code and on Ray's processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray.air.execution import PlacementGroupResourceManager
from ray.exceptions import RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.util.placement_group import placement_group_table

from tuning.tune_compat.processes import as_actor_error

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


def has_slot(controller: TuneController, trial: Trial) -> bool:
    """True if `trial` has a process, running or starting; False while it waits for one."""
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and bool(controller._actor_manager.is_actor_started(actor))


def slots_held(controller: TuneController) -> int:
    """The number of processes that hold what a trial holds: those that start, compute, are free or are stopping."""
    return int(controller._actor_manager.num_live_actors)


def slots_reserved(controller: TuneController) -> int:
    """The number of slots that Ray holds for processes that are still to be started: groups that have their resources.

    Between the two lies the start of a worker, which tells Tune that the group is ready. Asks the head about each group
    that Tune does not know to be ready.
    """
    manager = controller._actor_manager._resource_manager
    if not isinstance(manager, PlacementGroupResourceManager):
        return 0
    ready = sum(map(len, manager._request_to_ready_pgs.values()))
    staged = [group for groups in manager._request_to_staged_pgs.values() for group in groups]
    return int(ready + sum(placement_group_table(group).get("state") == "CREATED" for group in staged))


def starts_on_only_node(controller: TuneController, trial: Trial) -> bool:
    """True if the process of `trial` is still starting, and the cluster has a single node."""
    import ray

    if not has_slot(controller, trial) or controller._trial_to_actor[trial] in controller._started_actors:
        return False
    return len([node for node in ray.nodes() if node["Alive"]]) == 1


def actors_of(controller: TuneController) -> dict[str, Trial]:
    """The trials that have a process, by Ray's id of its actor; also those whose process is still starting."""
    found = (
        (_handle_of(controller, trial), trial) for trial in controller._trial_to_actor if has_slot(controller, trial)
    )
    return {str(handle._actor_id.hex()): trial for handle, trial in found}


def actor_of(trial: Trial) -> str | None:
    """Ray's id of the actor that computes `trial`; None if it has none now."""
    handle = trial.temporary_state.ray_actor
    return None if handle is None else str(handle._actor_id.hex())


def kill_actor(controller: TuneController, trial: Trial) -> None:
    """Kill the process of a trial through Ray. A process that does not react ends after five seconds."""
    import ray

    ray.kill(_handle_of(controller, trial))


def kill_stopping(controller: TuneController) -> None:
    """Kill the processes whose end Tune waits for: they would first compute to the next report."""
    for actor in controller._stopping_actors:
        if controller._actor_manager.is_actor_started(actor):
            controller._actor_manager.remove_actor(actor, kill=True)


def limit_trials(controller: TuneController, limit: int) -> None:
    """Let Tune propose and start at most `limit` trials at a time from now on, if it limits them at all."""
    search = controller._search_alg
    for limiter in (search, getattr(search, "searcher", None)):
        if isinstance(limiter, ConcurrencyLimiter | BasicVariantGenerator) and limiter.max_concurrent not in (0, limit):
            limiter.max_concurrent = limit
            controller.update_max_pending_trials()


def reset_failures(controller: TuneController, trials: list[Trial]) -> None:
    """Let failed trials of a snapshot run again and fail as often as new ones may.

    A limiter forgets a trial when it fails, and would keep its result from the searcher.
    """
    search = controller._search_alg
    for trial in trials:
        trial.run_metadata.num_failures = 0
        for limiter in (search, getattr(search, "searcher", None)):
            if isinstance(limiter, ConcurrencyLimiter):
                limiter.live_trials.add(trial.trial_id)


def forget_restore(trial: Trial) -> None:
    """Let a failure of `trial` count as any other, although it was being restored.

    Tune counts failed restores by themselves, and drops the checkpoint after a few: as if the checkpoint were to blame.
    """
    trial.temporary_state.restoring_from = None


def forget_statistics(trial: Trial) -> None:
    """Drop Tune's running statistics of every metric of `trial`: 10 kB of the 19 that a trial has in each snapshot.

    They are for Ray's `ExperimentAnalysis`; the study store has all reports.
    """
    trial.run_metadata.metric_analysis = {}
    trial.run_metadata.metric_n_steps = {}


@contextlib.contextmanager
def next_trial_id(name: str) -> Iterator[None]:
    """Gives the next trial that Tune's searches propose in the block the id `name`.

    They draw an id themselves, and pass it to the searcher before anybody else knows the trial; no option changes that.
    """
    drawn = Trial.__dict__["generate_id"]
    Trial.generate_id = staticmethod(lambda: name)
    try:
        yield
    finally:
        Trial.generate_id = drawn


def report_as_actor_errors(controller: TuneController) -> None:
    """Let every error that ends a process reach its trial as an error of its actor.

    Ray's manager of actors knows RayActorError and RayTaskError; at any other, such as the OutOfMemoryError with which
    the memory monitor kills, it raises, and the whole experiment ends. There is no option for that, and no hook before.
    """
    manager = controller._actor_manager
    task_failed, start_failed = manager._actor_task_failed, manager._actor_start_failed

    def converted(tracked: Any, error: Exception) -> Exception:
        held = manager._live_actors_to_ray_actors_resources.get(tracked)
        if held is None or isinstance(error, RayTaskError) or not isinstance(error, RayError):
            return error
        died: Exception = as_actor_error(held[0]._actor_id.hex(), error)
        return died

    def on_task(tracked_actor_task: Any, exception: Exception) -> None:
        task_failed(tracked_actor_task, converted(tracked_actor_task._tracked_actor, exception))

    def on_start(tracked_actor: Any, exception: Exception) -> None:
        start_failed(tracked_actor, converted(tracked_actor, exception))

    manager._actor_task_failed, manager._actor_start_failed = on_task, on_start


def _handle_of(controller: TuneController, trial: Trial) -> Any:
    return controller._actor_manager._live_actors_to_ray_actors_resources[controller._trial_to_actor[trial]][0]
