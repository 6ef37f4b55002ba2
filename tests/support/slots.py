"""Slots driven by hand as Tune drives them, for the tests of states, buckets and damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.probes import digest
from trainables.checkpoints.policy import BESIDE_THE_MANIFEST, CheckpointPolicy
from trainables.learning_curve import LearningCurve
from trainables.spec import FineTuneSpec, Objective, Params
from trainables.worker.slot import Slot

CURVE = FineTuneSpec(
    trainable="learning_curve", task="reviews", epochs=4, objective=Objective(metric="accuracy", mode="max")
)
A = {"learning_rate": 3e-3, "per_device_train_batch_size": 16, "model.hidden_dropout_prob": 0.3}
B = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "model.hidden_dropout_prob": 0.1, "adam_beta1": 0.8}


class DrivenSlot(Slot):
    """A slot without Tune's own constructor, which wants a cluster's storage.

    Attributes:
        built: all that its present trial has had built: its own training, then those that made a state again.
    """

    def __init__(
        self,
        params: dict[str, Any],
        policy: CheckpointPolicy = BESIDE_THE_MANIFEST,
        spec: FineTuneSpec = CURVE,
        training: Callable[[Params, FineTuneSpec], Any] = LearningCurve,
        devices: float = 1,
        trial: str = "",
    ) -> None:
        self._trial_info = SimpleNamespace(trial_id=trial)  # as Tune sets it

        self.built: list[Any] = []

        def make(params: Params, spec: FineTuneSpec) -> Any:
            self.built.append(training(params, spec))
            return self.built[-1]

        self.setup(params, training=make, spec=spec, devices=devices, policy=policy)

    @property
    def training(self) -> Any:
        """The training of the slot's present trial."""
        return self.built[0]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.built.clear()
        return super().reset_config(new_config)

    def to_the_end(self) -> list[dict[str, Any]]:
        """Trains to the end; returns the reports without times."""
        results: list[dict[str, Any]] = []
        while not results or not results[-1]["done"]:
            results.append(self.step())
        return [{k: v for k, v in r.items() if k not in ("device_seconds", "reported_at")} for r in results]


def saved(slot: Slot, study: Path, trial: str, number: int) -> Path:
    """Saves a checkpoint as Tune would; returns its folder."""
    folder = study / trial / f"checkpoint_{number:06d}"
    folder.mkdir(parents=True)
    slot.save_checkpoint(str(folder))
    return folder


def state_of(slot: DrivenSlot) -> tuple[float, str, str]:
    """Returns position, and digests of weights and moments, of a slot's training."""
    training = slot.training
    moments = (s[k] for s in training.optimizer.state.values() for k in ("exp_avg", "exp_avg_sq", "step"))
    return training.epoch, digest(training.model.parameters()), digest(moments)
