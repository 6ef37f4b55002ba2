"""Functions on private parts of Ray Tune that schedulers need, a population's above all, for strategies of any package.

A `runner` is what Tune passes to a scheduler's methods: a wrapper that allows `pause_trial` and little more. These
functions know which private attributes stand behind it. Read against ray 2.60.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial

from tuning.tune_compat.internals import has_slot
from tuning.tune_compat.processes import actor_alive


def has_process(runner: Any, trial: Trial) -> bool:
    """True if `trial` has a process of its own: running, or about to run (starting, resetting, restoring).

    Tune calls a trial PENDING both while it waits for a free GPU and while its process imports torch. Only the actor
    tables distinguish the two, and only the first is a reason to take another trial's slot away.
    """
    return has_slot(runner._tune_controller, trial)


def waiting_trials(runner: Any) -> tuple[set[Trial], set[Trial]]:
    """The trials that wait to start, and those that are paused.

    Tune lists by status, for its own use; what it passes to schedulers lists all trials that live.
    """
    controller = runner._tune_controller
    return controller._pending_trials, controller._paused_trials


def process_alive(trial: Trial) -> bool:
    """True if the process of a running trial still exists. Takes a quarter of a millisecond.

    Tune notices a dead process (its node is gone, memory ran out) only with the next call to it. A trial that is held
    gets no calls, and its dead process would be handed to another trial, which would then fail for it.
    """
    return actor_alive(trial.temporary_state.ray_actor._actor_id.hex())


def train_on(runner: Any, trial: Trial) -> None:
    """Let a trial that was held by the decision NOOP train on in its process, as it is.

    Tune has no decision for that: the public way is to pause and restore, which builds the model anew.
    """
    runner._tune_controller._schedule_trial_train(trial)


def keep_paused(runner: Any, trial: Trial) -> None:
    """Turn a trial that Tune wants to start into a paused one: it starts when the scheduler chooses it."""
    runner._set_trial_status(trial, Trial.PAUSED)


def continue_from(runner: Any, trial: Trial, donor: Trial) -> None:
    """Restore `trial` from the donor's newest checkpoint instead of its own when it starts next.

    Ray's own PBT writes the same attribute. `register_checkpoint`, the public way, would list the donor's folder among
    the trial's own. The copy keeps the donor's metrics from being edited through the trial. The caches are dropped and
    Tune is notified of the change; otherwise its next snapshot would hold the old checkpoint beside a lineage with the
    exploit.
    """
    from ray.train._internal.session import _TrainingResult

    result = donor.latest_checkpoint_result
    copied = _TrainingResult(checkpoint=result.checkpoint, metrics=dict(result.metrics))
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = copied
    trial.run_metadata.invalidate_cache()
    trial.invalidate_json_state()
    runner._tune_controller._mark_trial_to_checkpoint(trial)
