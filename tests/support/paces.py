"""Costs of trials with round numbers, for tests of estimates."""

from __future__ import annotations

from typing import Any

from trainables.calibration import TrialPace
from trainables.spec import Params
from tuning.estimate.costs import TrainingCosts

GB = 10**9


def pace(params: Params, epoch: float, **changed: Any) -> TrialPace:
    """Returns a pace of whole seconds: 5 to build, `epoch` for an epoch, 10 for an evaluation, none to save."""
    fields: dict[str, Any] = {
        "params": params, "build": 5.0, "epoch": epoch, "evaluation": 10.0, "save": 0.0, "first": 0.0, "spread": 0.0,
        "train_rows": 1200, "validation_rows": 400, "test_rows": 1000, "memory": 2 * GB, "shared": GB // 2,
        "device_memory": 0, "device": "a machine", "precision": "fp32",
    }  # fmt: skip
    return TrialPace(**{**fields, **changed})


def costs(epoch: float = 100.0, heaviest: TrialPace | None = None, **changed: Any) -> TrainingCosts:
    """Returns the costs of a training whose trials are all alike, or lie between that and `heaviest`."""
    lightest = pace({"per_device_train_batch_size": 16}, epoch)
    fields: dict[str, Any] = {"source": "a test", "slots": 2, "ray": 6.0, "data": 2.0, "start": 3.0}
    return TrainingCosts(lightest, heaviest or lightest, **{**fields, **changed})
