"""Trainables that write down what they see, for tests: workers import this module by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec, Params
from trainables.worker.slot import Evaluation


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Returns a digest that is equal for tensors that are equal bit for bit."""
    return hashlib.sha256(b"".join(t.detach().cpu().numpy().tobytes() for t in tensors)).hexdigest()


class ProbedFineTuning(FineTuning):
    """A FineTuning that appends what it does to events.jsonl beside its data file."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        assert spec.data.path is not None
        self.log = Path(spec.data.path).parent / "events.jsonl"
        self.trainer.add_callback(FirstStep(self))

    def event(self, kind: str, **facts: Any) -> None:
        state = {
            "params": {**self.params},
            "epoch": self.epoch,
            "examples": self.examples,
            "weights": digest(self.model.parameters()),
            "moments": digest(s[k] for s in self.optimizer.state.values() for k in ("exp_avg", "exp_avg_sq", "step")),
        }
        with self.log.open("a") as file:
            file.write(json.dumps({"event": kind, **state, **facts}) + "\n")

    def advance(self, epochs: float) -> Evaluation:
        evaluation = super().advance(epochs)
        self.event("advanced", metrics=evaluation.metrics, rows=sorted(self.trainer.segment))
        return evaluation

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        super().restore(folder, weights_only=weights_only)
        self.event("restored", metrics=self.score("validation").metrics)


class FirstStep(TrainerCallback):  # type: ignore[misc]
    """Reads loader, model and optimizer at the first optimizer step of every segment."""

    def __init__(self, training: ProbedFineTuning) -> None:
        self.training = training
        self.start = 0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = self.training.examples
        self.steps = 0

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.steps += 1
        if self.steps > 1:
            return
        decayed, plain = self.training.optimizer.param_groups
        self.training.event(
            "stepping",
            start=self.start,
            batch=self.training.examples - self.start,
            rates=[decayed["lr"], plain["lr"]],
            decay=[decayed["weight_decay"], plain["weight_decay"]],
            betas=list(decayed["betas"]),
            dropout=sorted({m.p for m in self.training.model.bert.modules() if isinstance(m, torch.nn.Dropout)}),
        )

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.training.event("trained", start=self.start, steps=self.steps)
