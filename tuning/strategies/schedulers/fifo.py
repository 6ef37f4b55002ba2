"""Runs trials in the order of their proposals: Ray's `FIFOScheduler` without its walk over every trial."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from tuning.tune_compat.population import waiting_trials


class FIFO(FIFOScheduler):  # type: ignore[misc]
    """Every trial to its end, those proposed first begin first."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called by Tune at each step; see `first_waiting`."""
        return first_waiting(tune_controller)


def first_waiting(tune_controller: Any) -> Trial | None:
    """Returns the trial that Ray's FIFO order starts next, or None if none waits.

    Of those that wait for their first process, or a new one, it is the first proposed, before any that is paused. Ray
    looks through all trials at each of Tune's steps, most of them ended: a third of the driver's time after 8,000
    trials. Those that wait are among the last that were proposed.
    """
    pending, paused = waiting_trials(tune_controller)
    left = {trial.trial_id for trial in pending or paused}
    if not left:
        return None
    for trial in reversed(tune_controller.get_trials()):
        left.discard(trial.trial_id)
        if not left:
            return trial
    raise LookupError("a trial that waits is none of Tune's")
