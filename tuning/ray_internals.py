"""The private parts of Ray Tune that the population needs; everything else in this package uses public ones.

Read against ray 2.60. `tests/test_pbt.py` drives every function here in a real run and fails when Ray moves them.
A `runner` is what Tune hands to a scheduler: a wrapper that allows `pause_trial` and little more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


def in_slot(runner: Any, trial: Trial) -> bool:
    """Whether `trial` has a process of its own: running, or about to (starting, resetting, restoring).

    Tune calls a trial PENDING both while it waits for a free GPU and while its process imports torch. Only the actor
    tables tell the two apart, and only the first is a reason to take another trial's slot away.
    """
    controller = runner._tune_controller
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and controller._actor_manager.is_actor_started(actor)


def go_on(runner: Any, trial: Trial) -> None:
    """Let a trial that was held by the decision NOOP train on in its process, as it is.

    Tune has no decision for that: the public way is to pause and restore, which builds the model anew.
    """
    runner._tune_controller._schedule_trial_train(trial)


def process_alive(trial: Trial) -> bool:
    """Whether the process of a running trial still exists. A quarter of a millisecond.

    Tune learns that a process has died (its node is gone, memory ran out) only when it next asks something of it. A
    held trial is asked nothing, and its dead process would be handed to another trial, which would then fail for it.
    """
    from ray._private import state

    actor = trial.temporary_state.ray_actor
    return bool(state.actors(actor._actor_id.hex())["State"] != "DEAD")


def continue_from(trial: Trial, donor: Trial) -> None:
    """When `trial` starts next, it is restored from the donor's newest checkpoint instead of its own.

    Ray's own PBT writes the same attribute. `register_checkpoint`, the public way, would list the donor's folder among
    the trial's own. The copy keeps the donor's metrics from being edited through the trial. The caches are dropped, or
    Tune's next snapshot would still say the old thing.
    """
    from ray.train._internal.session import _TrainingResult

    result = donor.latest_checkpoint_result
    copied = _TrainingResult(checkpoint=result.checkpoint, metrics=dict(result.metrics))
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = copied
    trial.run_metadata.invalidate_cache()
    trial.invalidate_json_state()


def slot_environment() -> dict[str, Any]:
    """The runtime environment in which Tune's trial actors run: a worker that waits for one must have the same."""
    from ray.tune import Trainable
    from ray.tune.execution.class_cache import _ActorClassCache

    return dict(_ActorClassCache().get(Trainable)._default_options["runtime_env"])
