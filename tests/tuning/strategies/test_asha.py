"""ASHA: where it decides, what it decides again after a restart, and what it refuses to compare."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.outcomes import known_to_tune
from tests.support.strategies import make
from tuning.space import Space
from tuning.strategies import Strategy
from tuning.testing.plan_contract import OBJECTIVE, SPACE

pytestmark = pytest.mark.unit

EPOCHS = 4.0


def asha(**fields: Any) -> Strategy:
    return make("hyperopt_asha", **fields)


def tell(scheduler: Any, trial: str, epoch: float, score: float) -> str:
    """Returns what the scheduler decides on a trial's first report."""
    scheduler.on_trial_add(None, known := known_to_tune(trial))
    return str(scheduler.on_trial_result(None, known, {"epoch": epoch, "metrics/accuracy": score}))


def test_unequal_schedules_are_compared_only_when_asked_for() -> None:
    space = Space.model_validate({"num_train_epochs": {"choice": [2, 3]}})
    assert asha(trials=8, compare_unequal_schedules=True).refusals(space, 3.0) == []


def test_asha_judges_nobody_between_rungs_when_a_report_passed_two_of_them() -> None:
    scheduler = asha(trials=2, grace_epochs=1, reduction_factor=2).plan(SPACE, OBJECTIVE, 8.0, seed=0).scheduler
    better, worse = (known_to_tune(name) for name in ("better", "worse"))
    for trial in (better, worse):
        scheduler.on_trial_add(None, trial)
    decisions = [
        scheduler.on_trial_result(None, trial, {"epoch": epoch, "metrics/accuracy": score})
        for epoch, scores in {2.0: (0.5, 0.5), 4.0: (0.6, 0.6), 6.0: (0.9, 0.7)}.items()
        for trial, score in zip((better, worse), scores, strict=True)
    ]
    assert decisions == ["CONTINUE"] * 6  # the rungs are 1, 2, 4 and 8; with reports every 2 epochs nobody is seen at 1


def test_a_report_a_rounding_before_a_rung_is_at_it() -> None:
    scheduler = asha(trials=2, grace_epochs=1 / 3, reduction_factor=3).plan(SPACE, OBJECTIVE, 3.0, seed=0).scheduler
    trials = [known_to_tune(name) for name in ("better", "worse")]
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    decisions = [
        scheduler.on_trial_result(None, trial, {"epoch": 0.333333, "metrics/accuracy": score})
        for trial, score in zip(trials, (0.9, 0.1), strict=True)
    ]
    assert decisions == ["CONTINUE", "STOP"]


def test_a_stop_that_was_decided_and_not_done_is_decided_again_after_a_restart() -> None:
    """The driver died after the report, before its checkpoint was saved: the trial will report that epoch again."""
    scheduler = asha(trials=2, grace_epochs=1, reduction_factor=2).plan(SPACE, OBJECTIVE, 4.0, seed=0).scheduler
    better, worse = (known_to_tune(name) for name in ("better", "worse"))
    for trial in (better, worse):
        scheduler.on_trial_add(None, trial)

    def decide(trial: SimpleNamespace, epoch: float, score: float) -> str:
        return str(scheduler.on_trial_result(None, trial, {"epoch": epoch, "metrics/accuracy": score}))

    assert [decide(better, 1.0, 0.9), decide(worse, 1.0, 0.9)] == ["CONTINUE", "CONTINUE"]
    assert [decide(better, 2.0, 0.9), decide(worse, 2.0, 0.1)] == ["CONTINUE", "STOP"]
    restored = known_to_tune("worse", saved=1.0)
    scheduler.on_trial_add(None, restored)
    assert decide(restored, 2.0, 0.1) == "STOP"
    scheduler.on_trial_add(None, known_to_tune("better", saved=2.0))  # passed for good: others are measured by it
    scheduler.on_trial_add(None, another := known_to_tune("another"))
    assert [decide(another, 1.0, 0.9), decide(another, 2.0, 0.4)] == ["CONTINUE", "STOP"]


def test_the_rungs_come_back_with_the_searcher(tmp_path: Path) -> None:
    """Tune saves the searcher in one step with the trials, and the scheduler not at all."""
    first, resumed, forgetful = (make("random_asha").plan(SPACE, OBJECTIVE, EPOCHS, seed=0) for _ in range(3))
    assert tell(first.scheduler, "better", 1.0, 0.9) == "CONTINUE"
    first.searcher.save(str(tmp_path / "searcher"))
    resumed.searcher.restore(str(tmp_path / "searcher"))
    assert tell(resumed.scheduler, "worse", 1.0, 0.1) == "STOP"
    assert tell(forgetful.scheduler, "worse", 1.0, 0.1) == "CONTINUE"
