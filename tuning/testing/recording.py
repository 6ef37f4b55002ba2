"""Records a study as a run does, for tests of a store and of what reads one."""

from __future__ import annotations

from typing import Any

from trainables.reporting import Report
from trainables.spec import Objective
from tuning.outcome import Confirmation, Exploit, Stretch
from tuning.space import Space
from tuning.store.study_store import StudyStore, StudyWriter

ACCURACY = Objective(metric="accuracy", mode="max")
SPACE = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1.0]}, "optim": {"choice": ["sgd", "adafactor"]}})
NAME = "reviews/pbt/seed-3"  # of the study in Optuna's tables


def open_study(store: StudyStore, **changed: Any) -> StudyWriter:
    """Opens the study of strategy pbt and seed 3 of the experiment `reviews`, for a run.

    Args:
        store: the store.
        changed: arguments of `StudyStore.open_study` that differ.
    """
    arguments: dict[str, Any] = {
        "experiment": "reviews", "digest": "d1", "strategy": "pbt", "kind": "pbt", "seed": 3, "objective": ACCURACY,
        "slots": 2, "devices_per_trial": 0.5, "device": "GPU", "attributes": {"torch": "2.13"},
        "spec_yaml": "epochs: 3\nstrategies:\n- kind: pbt\n",
    }  # fmt: skip
    return store.open_study(**{**arguments, **changed})


def begin_trial(writer: StudyWriter, trial: str, rate: float = 0.1, *, again: bool = False) -> None:
    """Records that a trial begins."""
    writer.begin_trial(trial, {"learning_rate": rate, "optim": "sgd"}, SPACE.to_optuna(), again=again)


def make_report(epoch: float, accuracy: float, rate: float = 0.1, *, seconds: float = 1.0, time: float = 0.0) -> Report:
    """Returns a report of a trial."""
    return Report(epoch, {"accuracy": accuracy}, {"learning_rate": rate}, seconds, time or epoch)


def make_exploit(epoch: float, donor: str = "b") -> Exploit:
    """Returns an exploit as a scheduler reports it, without knowing what is recorded of the two trials."""
    return Exploit(epoch, donor, {"learning_rate": 0.1}, {"learning_rate": 0.4}, 5.0, reports=99, donor_reports=99)


def make_confirmation(seed: int, **changed: Any) -> Confirmation:
    """Returns one training of a configuration with that seed, without a test score."""
    schedule = (Stretch(0.0, 1.0, {"learning_rate": 0.1}), Stretch(1.0, 2.0, {"learning_rate": 0.4}))
    scores: dict[str, Any] = {"validation": {"accuracy": 0.5, "f1": float("nan")}, **changed}
    return Confirmation(2, "a", 2.0, schedule, 0.625, seed, 12.5, 7.0, **scores)
