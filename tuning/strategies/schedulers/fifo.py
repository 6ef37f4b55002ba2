"""Runs trials in the order of their proposals: Ray's `FIFOScheduler` without its walk over every trial."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class FIFO(FIFOScheduler):  # type: ignore[misc]
    """Every trial to its end, those proposed first begin first."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called by Tune at each step; see `first_waiting`."""
        return first_waiting(self, tune_controller)


def first_waiting(scheduler: FIFOScheduler, tune_controller: Any) -> Trial | None:
    """Returns the trial that Ray's FIFO order starts next, or None if none waits.

    Ray looks through all trials at each of Tune's steps, most of them ended: a third of the driver's time after 8,000
    trials. While slots are busy at most one waits, and is found among those that live.
    """
    waiting = [one for one in tune_controller.get_live_trials() if one.status in (Trial.PENDING, Trial.PAUSED)]
    if len(waiting) > 1:
        chosen: Trial | None = FIFOScheduler.choose_trial_to_run(scheduler, tune_controller)
        return chosen
    return waiting[0] if waiting else None
