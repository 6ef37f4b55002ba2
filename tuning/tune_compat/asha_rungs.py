"""The rungs of Ray's ASHA, which are private. Read against ray 2.60."""

from __future__ import annotations

from ray.tune.schedulers import ASHAScheduler


def leave_rungs_after(scheduler: ASHAScheduler, trial_id: str, epoch: float) -> None:
    """Take a trial out of every rung that it reaches only after `epoch`, so that it can be entered there again."""
    for milestone, recorded in (rung for bracket in scheduler._brackets for rung in bracket._rungs):
        if milestone > epoch:
            recorded.pop(trial_id, None)
