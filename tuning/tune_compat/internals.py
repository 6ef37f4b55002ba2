"""The private parts of Tune's controller that ours uses, one function per purpose.

Read against ray 2.60; `tuning.spec.validation.versions` refuses other minor releases at a run's start. The contract
tests of `tests/tuning/tune_compat` check what each function promises, on Tune's own code and on Ray's processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController


def has_slot(controller: TuneController, trial: Trial) -> bool:
    """True if `trial` has a process, running or starting; False while it waits for one."""
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and bool(controller._actor_manager.is_actor_started(actor))


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


def reset_failures(trials: list[Trial]) -> None:
    """Let failed trials of a snapshot run again and fail as often as new ones may."""
    for trial in trials:
        trial.run_metadata.num_failures = 0


def forget_restore(trial: Trial) -> None:
    """Let a failure of `trial` count as any other, although it was being restored.

    Tune counts failed restores by themselves, and drops the checkpoint after a few: as if the checkpoint were to blame.
    """
    trial.temporary_state.restoring_from = None


def forget_past(trial: Trial) -> None:
    """Drop what Tune's snapshots would hold of a trial's earlier reports: statistics, and all checkpoints but the last.

    The statistics of every metric are for Ray's `ExperimentAnalysis`, and were 10 kB of the 19 that a trial had there;
    the study store has all reports, and the keeper knows which checkpoints stay.
    """
    trial.run_metadata.metric_analysis = {}
    trial.run_metadata.metric_n_steps = {}
    known = trial.run_metadata.checkpoint_manager._checkpoint_results
    known[:-1] = []


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


def _handle_of(controller: TuneController, trial: Trial) -> Any:
    return controller._actor_manager._live_actors_to_ray_actors_resources[controller._trial_to_actor[trial]][0]
