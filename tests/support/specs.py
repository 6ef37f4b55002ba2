"""The small specs that tests read, check and run: stated here, and changed where a test needs another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

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

# Small, and each with enough trials for what it is: points of a grid, a search that stops some, members that clone.
GRID: Mapping[str, Any] = {"kind": "grid", "points": 3}
HYPEROPT_ASHA: Mapping[str, Any] = {"kind": "hyperopt_asha", "trials": 6, "initial_random": 3}
PBT: Mapping[str, Any] = {"kind": "pbt", "population": 4}


def curve_fields(folder: Path | str, **changed: Any) -> dict[str, Any]:
    """Returns the fields of the experiment that tests run whole: a closed form, 4 epochs, three strategies, two slots.

    Args:
        folder: its storage.
        changed: top-level fields in place of these, or besides; those of `cluster` one by one (`cluster={"address":
            ...}` keeps the storage), all others whole.
    """
    cluster = {"storage": str(folder), "max_concurrent": 2, **changed.pop("cluster", {})}
    return {
        "name": "whole",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "strategies": [dict(GRID), dict(HYPEROPT_ASHA), dict(PBT)],
        "cluster": cluster,
        **changed,
    }


USER_TRAINER = "tests.support.user_trainers:make_trainer"


def user_trainer_fields(folder: Path | str, **changed: Any) -> dict[str, Any]:
    """Returns the fields of an experiment with a Trainer of the user's own, on a CPU: no task, no data, no model."""
    cluster = {"gpus_per_trial": 0, **changed.pop("cluster", {})}
    space = {"learning_rate": {"loguniform": [1e-3, 1e-2]}, "per_device_train_batch_size": {"choice": [8, 16]}}
    raw = curve_fields(folder, **{"trainable": USER_TRAINER, "space": space, "cluster": cluster, **changed})
    del raw["task"]
    return raw


def curve_experiment(folder: Path | str, **changed: Any) -> ExperimentSpec:
    """Returns the experiment of `curve_fields`, read and checked."""
    return load_spec(curve_fields(folder, **changed))


def places_fields(folder: Path | str, data: Path | str, model: Path | str, /, **changed: Any) -> dict[str, Any]:
    """Returns the fields of an experiment of real trials on `tiny_data` and `tiny_model`: few rows, two epochs, no GPU.

    Args:
        folder: its storage.
        changed: as for `curve_fields`; the fields of `data` one by one as well.
    """
    rows = {"train": 48, "validation": 24, "test": 24}
    real: dict[str, Any] = {
        "name": "places",
        "trainable": "finetune",
        "task": "text_classification",
        "data": {
            "path": str(data), "text": ["text"], "label": "label", "max_length": 32, "subset": rows,
            **changed.pop("data", {}),
        },
        "model": str(model),
        "precision": "fp32",
        "epochs": 2,
        "cluster": {"gpus_per_trial": 0, **changed.pop("cluster", {})},
    }  # fmt: skip
    return curve_fields(folder, **{**real, **changed})
