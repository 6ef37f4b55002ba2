"""The spec that the tests of reading, checking and running start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GOOD: Mapping[str, Any] = {
    "name": "mine",
    "task": "reviews",
    "epochs": 4,
    "space": {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "per_device_train_batch_size": {"choice": [16, 32]},
    },
    "strategies": [
        {"kind": "grid"},
        {"kind": "hyperopt_asha", "trials": 8},
        {"kind": "pbt", "population": 4},
    ],
}
