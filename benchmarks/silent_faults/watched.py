"""A tiny BERT in a Trainer that records which values are in force at each of its optimizer steps.

The notes are lines of a file, since a trial may run in a process of its own. The model's configuration names the file:
it is what every Trainer of a search has, however it was made.
"""

from __future__ import annotations

import functools
import json
import os
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

ROWS = 100  # six batches of 16 and a seventh of 4
BATCH = 16
STEPS = 7  # of an epoch
EPOCHS = 2


class Step(NamedTuple):
    """The values of one optimizer step, as far as they can be seen before it is made."""

    process: int
    step: int  # steps made before it in this training
    seed: int  # of the arguments
    head: float  # sum of the classifier's weights
    rate: float  # of the optimizer's first group
    rate_said: float  # of the arguments
    decay: float
    decay_said: float
    smoothing: float
    optimizer: str  # its class


class Watched(Trainer):  # type: ignore[misc]
    """A Trainer that writes a `Step` before each of its optimizer steps."""

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
        """One forward and backward pass."""
        group = self.optimizer.param_groups[0]
        step = Step(
            process=os.getpid(),
            step=self.state.global_step,
            seed=self.args.seed,
            head=head(self.model),
            rate=group["lr"],
            rate_said=self.args.learning_rate,
            decay=group["weight_decay"],
            decay_said=self.args.weight_decay,
            smoothing=self.label_smoother.epsilon if self.label_smoother else 0.0,
            optimizer=type(getattr(self.optimizer, "optimizer", self.optimizer)).__name__,
        )
        with open(self.model.config.notes, "a") as file:
            file.write(json.dumps(step) + "\n")
        loss: torch.Tensor = super().training_step(model, inputs, *rest, **named)
        return loss


def steps_in(notes: Path) -> list[Step]:
    """Returns all steps of all trials, in the order in which they were written."""
    return [Step(*json.loads(line)) for line in notes.read_text().splitlines()] if notes.exists() else []


def trainings_in(notes: Path) -> list[list[Step]]:
    """Returns the steps of each training from its start; the order of trainings is kept within a process."""
    found: list[list[Step]] = []
    for _, steps in groupby(sorted(steps_in(notes), key=lambda step: step.process), key=lambda step: step.process):
        for step in steps:
            if step.step == 0:
                found.append([])
            found[-1].append(step)
    return found


def warm_up(training: list[Step]) -> int:
    """Counts the steps for which the learning rate rises."""
    return sum(before.rate < after.rate for before, after in pairwise(training))


def head(model: BertForSequenceClassification) -> float:
    """Returns a number that differs between heads of different seeds."""
    return round(float(model.classifier.weight.detach().sum()), 6)


def head_of(seed: int, notes: Path) -> float:
    """Returns that number for the initial head of a training with this seed."""
    set_seed(seed)
    return head(fresh_model(notes))


def fresh_model(notes: Path) -> BertForSequenceClassification:
    """Makes a model of two classes, with one layer and random weights."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=64, max_position_embeddings=16, **sizes)
    config.notes = str(notes)
    return BertForSequenceClassification(config)


def rows(count: int, seed: int) -> Dataset:
    """Makes rows of eight tokens, of which the first one decides the class."""
    tokens = np.random.default_rng(seed).integers(4, 64, (count, 8))
    labels = (tokens[:, 0] > 33).astype(int)
    return Dataset.from_dict({"input_ids": tokens.tolist(), "labels": labels.tolist()})


def accuracy(prediction: Any) -> dict[str, float]:
    """Computes the metrics of a Trainer."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def make_trainer(folder: Path, kind: type[Watched] = Watched, **arguments: Any) -> Watched:
    """Makes a Trainer for a search, which records its steps in `folder`/notes; `arguments` are added."""
    own = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": BATCH, "eval_strategy": "epoch"}
    quiet = {"save_strategy": "no", "report_to": "none", "logging_strategy": "no", "disable_tqdm": True}
    trainer = kind(
        model_init=functools.partial(fresh_model, folder / "notes"),
        args=TrainingArguments(output_dir=str(folder / "out"), use_cpu=True, **{**own, **quiet, **arguments}),
        train_dataset=rows(ROWS, 0),
        eval_dataset=rows(32, 1),
        compute_metrics=accuracy,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
