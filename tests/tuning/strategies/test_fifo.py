"""Tests which trial begins next: the one of Ray's own FIFO order, found without looking at ended trials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from tuning.strategies.schedulers.asha import ASHA
from tuning.strategies.schedulers.fifo import FIFO

pytestmark = pytest.mark.unit

STATES = {"P": Trial.PENDING, "p": Trial.PAUSED, "R": Trial.RUNNING, "T": Trial.TERMINATED, "E": Trial.ERROR}


def controller_of(states: str) -> Any:
    """Returns what a scheduler may ask Tune's controller: all trials in order, and those that have not ended."""
    trials = [SimpleNamespace(number=number, status=STATES[state]) for number, state in enumerate(states)]
    live = [trial for trial in trials if trial.status not in (Trial.TERMINATED, Trial.ERROR)]
    return SimpleNamespace(get_trials=lambda: trials, get_live_trials=lambda: reversed(live))


@pytest.mark.parametrize("scheduler", [FIFO(), ASHA(metric="score", mode="max")], ids=["fifo", "asha"])
@pytest.mark.parametrize("states", ["", "TTER", "TTPR", "TTpR", "TpRP", "TPRP", "ppT", "PPT", "RTPTpTP"])
def test_the_next_trial_is_the_one_that_rays_order_chooses(scheduler: Any, states: str) -> None:
    controller = controller_of(states)
    assert scheduler.choose_trial_to_run(controller) is FIFOScheduler().choose_trial_to_run(controller)


@pytest.mark.parametrize("states", ["TTTR", "TTTPR", "TTpR"])
def test_ended_trials_are_not_looked_at_while_one_trial_at_most_waits(states: str) -> None:
    controller = controller_of(states)
    controller.get_trials = lambda: pytest.fail("all trials were looked at")
    FIFO().choose_trial_to_run(controller)
