"""An experiment whose budget cuts most of its studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.simulated_studies import long_experiment
from tuning.spec.models import ExperimentSpec

EPOCHS = 10.0  # what each study may train
STRATEGIES: list[dict[str, Any]] = [
    {"kind": "grid", "points": 6},
    {"kind": "random", "trials": None},
    {"kind": "random_asha", "trials": None},
    {"kind": "hyperopt", "trials": None, "initial_random": 2},
    {"kind": "hyperopt_asha", "trials": None, "initial_random": 2},
    {"kind": "pbt", "population": 4},
    {"kind": "pbt", "label": "selection", "population": 4, "explore": False},
]
NAMES = [strategy.get("label", strategy["kind"]) for strategy in STRATEGIES]


def strategy(name: str) -> list[dict[str, Any]]:
    """Returns the entries of a spec with that strategy alone."""
    return [STRATEGIES[NAMES.index(name)]]


def cut_experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    """Returns an experiment of all strategies, two trials at a time, whose budget cuts them and has a price."""
    budget = {"epochs": EPOCHS, "price": {"per_device_hour": 3.6, "currency": "EUR"}}
    return long_experiment(folder, **{"strategies": STRATEGIES, "budget": budget, "test": True, **changed})
