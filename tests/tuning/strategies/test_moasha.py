"""MOASHA: where it decides, by the ranks of all objectives, and what it decides again after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.outcomes import known_to_tune
from trainables.spec import Constraint, Goal, Objective
from tuning.strategies.schedulers.asha import ASHA
from tuning.strategies.schedulers.moasha import MOASHA

pytestmark = pytest.mark.unit

ACCURACY, LATENCY = Objective(metric="accuracy", mode="max"), Objective(metric="latency_ms", mode="min")
GOAL = Goal(objectives=(ACCURACY, LATENCY))


def moasha(goal: Goal = GOAL, *, epochs: float = 8.0, grace: float = 1.0, factor: float = 2.0) -> MOASHA:
    return MOASHA(goal, epochs, grace, factor)


def tell(scheduler: Any, trial: Any, epoch: float, accuracy: float, latency: float = 0.0) -> str:
    """Returns what the scheduler decides on a report; a name is that of a new trial."""
    if isinstance(trial, str):
        scheduler.on_trial_add(None, trial := known_to_tune(trial))
    result = {"epoch": epoch, "metrics/accuracy": accuracy, "metrics/latency_ms": latency}
    return str(scheduler.on_trial_result(None, trial, result))


def test_what_is_best_in_one_objective_goes_on_whatever_the_other() -> None:
    scheduler = moasha()
    assert tell(scheduler, "accurate", 1.0, 0.9, 90.0) == "CONTINUE"
    assert tell(scheduler, "worse in both", 1.0, 0.8, 95.0) == "STOP"
    assert tell(scheduler, "fast", 1.0, 0.5, 10.0) == "CONTINUE"
    assert tell(scheduler, "worse than fast", 1.0, 0.4, 11.0) == "STOP"


def test_of_a_front_that_is_too_long_those_go_on_that_are_spread_over_it() -> None:
    """All lie on one line, so nobody dominates another, and one in four goes on."""
    scheduler = moasha(factor=4.0)
    decisions = [tell(scheduler, f"at {x}", 1.0, float(x), float(x)) for x in (0, 10, 5, 4, 6, 5.5, 1, 9)]
    assert decisions[0] == decisions[1] == "CONTINUE"  # the first, and the new best of the first objective
    assert set(decisions[2:]) == {"STOP"}  # between them
    assert tell(scheduler, "beyond both", 1.0, -5.0, -5.0) == "CONTINUE"  # an end of the front


def test_a_broken_constraint_goes_before_the_objectives() -> None:
    scheduler = moasha(Goal(objectives=GOAL.objectives, constraints=(Constraint(metric="latency_ms", at_most=20),)))
    assert tell(scheduler, "keeps it", 1.0, 0.1, 20.0) == "CONTINUE"
    assert tell(scheduler, "breaks it", 1.0, 0.9, 21.0) == "STOP"
    assert tell(scheduler, "breaks it less", 1.0, 0.9, 20.5) == "CONTINUE"  # of three the second: within 1.5
    assert tell(scheduler, "breaks it more", 1.0, 0.9, 30.0) == "STOP"


def test_with_one_objective_it_stops_what_asha_stops_but_at_the_median() -> None:
    """Ray's rule compares with a quantile of those before, this one takes the best half; they differ by one place."""
    scores = [0.5, 0.6, 0.4, 0.7, 0.55, 0.2, 0.9, 0.1]
    ours = moasha(Goal(objectives=(ACCURACY,)))
    rays = ASHA(
        0, time_attr="epoch", metric="metrics/accuracy", mode="max", max_t=8, grace_period=1, reduction_factor=2,
        stop_last_trials=False,
    )  # fmt: skip
    decided = [[tell(one, f"{number}", 1.0, score) for number, score in enumerate(scores)] for one in (ours, rays)]
    best, worst = (0, 1, 3, 6), (2, 5, 7)
    assert all(decisions[number] == "CONTINUE" for decisions in decided for number in best)
    assert all(decisions[number] == "STOP" for decisions in decided for number in worst)


def test_nobody_is_judged_twice_at_a_rung_nor_entered_in_those_below() -> None:
    scheduler = moasha()
    first, second = (known_to_tune(name) for name in ("first", "second"))
    for trial in (first, second):
        scheduler.on_trial_add(None, trial)
    assert tell(scheduler, first, 2.0, 0.9) == "CONTINUE"  # past the rung at 1
    assert tell(scheduler, second, 1.0, 0.1) == "CONTINUE"  # the first one there
    assert tell(scheduler, first, 3.0, 0.0) == "CONTINUE"  # between rungs
    assert tell(scheduler, second, 2.0, 0.1) == "STOP"
    assert tell(scheduler, "late", 1.0 - 1e-10, 0.05) == "STOP"  # a rounding before the rung is at it


def test_a_stop_that_was_decided_and_not_done_is_decided_again_after_a_restart() -> None:
    """The driver died after the report, before its checkpoint was saved: the trial will report that epoch again."""
    scheduler = moasha()
    better, worse = (known_to_tune(name) for name in ("better", "worse"))
    for trial in (better, worse):
        scheduler.on_trial_add(None, trial)
    assert [tell(scheduler, t, 1.0, 0.9) for t in (better, worse)] == ["CONTINUE", "CONTINUE"]
    assert [tell(scheduler, better, 2.0, 0.9), tell(scheduler, worse, 2.0, 0.1)] == ["CONTINUE", "STOP"]
    scheduler.on_trial_add(None, restored := known_to_tune("worse", saved=1.0))
    assert tell(scheduler, restored, 2.0, 0.1) == "STOP"
    scheduler.on_trial_add(None, known_to_tune("better", saved=2.0))  # passed for good: others are measured by it
    assert [tell(scheduler, name, 2.0, score) for name, score in (("third", 0.4), ("fourth", 0.3))] == [
        "CONTINUE",
        "STOP",
    ]
