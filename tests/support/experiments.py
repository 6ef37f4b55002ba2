"""The small experiments that tests run whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuning import load_spec
from tuning.spec import ExperimentSpec

STRATEGIES = [
    {"kind": "grid", "points": 3},
    {"kind": "hyperopt_asha", "trials": 6, "initial_random": 3},
    {"kind": "pbt", "population": 4},
]


def spec_of(folder: Path, **changed: Any) -> ExperimentSpec:
    """An experiment with the closed-form trial; two trials at a time, a logical GPU each."""
    raw: dict[str, Any] = {
        "name": "whole",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "strategies": STRATEGIES,
        "cluster": {"storage": str(folder), "max_concurrent": 2},
    }
    return load_spec({**raw, **changed})
