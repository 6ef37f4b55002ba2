"""The brackets and rungs of Ray's ASHA, which are private. Read against ray 2.60."""

from __future__ import annotations

import math

from ray.tune.schedulers import ASHAScheduler


def leave_rungs_after(scheduler: ASHAScheduler, trial_id: str, epoch: float) -> None:
    """Take a trial out of every rung that it reaches only after `epoch`, so that it can be entered there again."""
    for milestone, recorded in (rung for bracket in scheduler._brackets for rung in bracket._rungs):
        if milestone > epoch:
            recorded.pop(trial_id, None)


def bracket_weights(scheduler: ASHAScheduler) -> list[float]:
    """The relative shares of trials of the brackets: Ray's own, a factor of e for each rung that a bracket has more."""
    return [math.exp(len(bracket._rungs)) for bracket in scheduler._brackets]


def bracket_of(scheduler: ASHAScheduler, trial_id: str) -> int | None:
    """The position of a trial's bracket; None of a trial that is in none."""
    bracket = scheduler._trial_info.get(trial_id)
    return None if bracket is None else scheduler._brackets.index(bracket)


def put_in_bracket(scheduler: ASHAScheduler, trial_id: str, position: int) -> None:
    """Put a trial in the bracket at that position; it leaves the one that Ray has drawn for it."""
    scheduler._trial_info[trial_id] = scheduler._brackets[position]
