"""Tests which trial begins next: the one of Ray's own FIFO order, found without looking at ended trials."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from tuning.strategies.schedulers.asha import ASHA
from tuning.strategies.schedulers.fifo import FIFO

pytestmark = pytest.mark.unit

STATES = {"P": Trial.PENDING, "p": Trial.PAUSED, "R": Trial.RUNNING, "T": Trial.TERMINATED, "E": Trial.ERROR}


class Watched(list[Any]):
    """A list that knows which of its entries were looked at from its end on; from its beginning none may be."""

    def __init__(self, entries: list[Any]) -> None:
        super().__init__(entries)
        self.seen: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        pytest.fail("all trials were looked at")

    def __reversed__(self) -> Iterator[Any]:
        for place in range(len(self) - 1, -1, -1):
            self.seen.append(self[place])
            yield self[place]


def controller_of(states: str) -> Any:
    """Returns what a scheduler may ask Tune's controller: all trials in order, and those that wait."""
    trials = [SimpleNamespace(trial_id=str(number), status=STATES[state]) for number, state in enumerate(states)]
    waiting = {
        name: [trial for trial in trials if trial.status == status]
        for name, status in (("_pending_trials", Trial.PENDING), ("_paused_trials", Trial.PAUSED))
    }
    return SimpleNamespace(get_trials=lambda: trials, _tune_controller=SimpleNamespace(**waiting))


@pytest.mark.parametrize("scheduler", [FIFO(), ASHA(0, metric="score", mode="max")], ids=["fifo", "asha"])
@pytest.mark.parametrize("states", ["", "TTER", "TTPR", "TTpR", "TpRP", "TPRP", "ppT", "PPT", "RTPTpTP"])
def test_the_next_trial_is_the_one_that_rays_order_chooses(scheduler: Any, states: str) -> None:
    controller = controller_of(states)
    assert scheduler.choose_trial_to_run(controller) is FIFOScheduler().choose_trial_to_run(controller)


@pytest.mark.parametrize(("states", "looked_at"), [("TTTR", 0), ("TTTPRT", 3), ("TpTTpR", 5), ("TTTTPPPP", 4)])
def test_trials_before_the_first_that_waits_are_not_looked_at(states: str, looked_at: int) -> None:
    controller = controller_of(states)
    trials = Watched(controller.get_trials())
    controller.get_trials = lambda: trials
    FIFO().choose_trial_to_run(controller)
    assert len(trials.seen) == looked_at
