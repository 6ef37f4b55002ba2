"""Stores with a study in them, for the tests of the store and of what reads it."""

from __future__ import annotations

from typing import Any

import pytest

from trainables.spec import Objective
from tuning.outcome import Exploit
from tuning.space import Space
from tuning.store.study_store import StudyStore, StudyWriter

ACCURACY = Objective(metric="accuracy", mode="max")
SPACE = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1.0]}, "optim": {"choice": ["sgd", "adafactor"]}})
SECRET = "hunter2"


def open_study(store: StudyStore, **changed: Any) -> StudyWriter:
    told: dict[str, Any] = {
        "experiment": "reviews", "digest": "d1", "strategy": "pbt", "kind": "pbt", "seed": 3, "objective": ACCURACY,
        "slots": 2, "devices_per_trial": 0.5, "device": "GPU", "attributes": {"torch": "2.13"},
        "spec_yaml": "epochs: 3\nstrategies:\n- kind: pbt\n",
    }  # fmt: skip
    return store.open_study(**{**told, **changed})


on_both = pytest.mark.parametrize(
    "store_url",
    [
        pytest.param("sqlite", marks=pytest.mark.unit),
        pytest.param("postgresql", marks=[pytest.mark.system, pytest.mark.postgres]),
    ],
    indirect=True,
)


def begin(writer: StudyWriter, trial: str, rate: float = 0.1) -> None:
    writer.begin_trial(trial, {"learning_rate": rate, "optim": "sgd"}, SPACE.to_optuna())


def epochs(store: StudyStore, trial: str = "a") -> list[float]:
    (found,) = [t for t in store.load("reviews").studies[0].trials if t.id == trial]
    return [r.epoch for r in found.reports]


def exploit(epoch: float, donor: str = "b") -> Exploit:
    return Exploit(epoch, donor, {"learning_rate": 0.1}, {"learning_rate": 0.4}, 5.0, reports=99, donor_reports=99)
