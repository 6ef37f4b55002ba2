"""Slots driven by hand as Tune drives them, for the tests of states, buckets and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.probes import digest
from trainables.learning_curve import LearningCurve
from trainables.slot import Slot
from trainables.spec import FineTuneSpec, Objective
from trainables.states import Keeping

CURVE = FineTuneSpec(
    trainable="learning_curve", task="reviews", epochs=4, objective=Objective(metric="accuracy", mode="max")
)
A = {"learning_rate": 3e-3, "per_device_train_batch_size": 16, "model.hidden_dropout_prob": 0.3}
B = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "model.hidden_dropout_prob": 0.1, "adam_beta1": 0.8}


def slot_of(
    params: dict[str, Any], keeping: Keeping, spec: FineTuneSpec = CURVE, training: Any = LearningCurve
) -> Slot:
    slot = Slot.__new__(Slot)  # without Tune's own constructor, which wants a cluster's storage
    slot.setup(params, training=training, spec=spec, devices=1, keeping=keeping)
    return slot


def saved(slot: Slot, study: Path, trial: str, number: int) -> Path:
    """The checkpoint's folder, as Tune would name it."""
    folder = study / trial / f"checkpoint_{number:06d}"
    folder.mkdir(parents=True)
    slot.save_checkpoint(str(folder))
    return folder


def state_of(slot: Slot) -> tuple[float, str, str]:
    """Position, weights and moments of what a slot holds."""
    training: Any = slot._training
    moments = (s[k] for s in training.optimizer.state.values() for k in ("exp_avg", "exp_avg_sq", "step"))
    return training.epoch, digest(training.model.parameters()), digest(moments)
