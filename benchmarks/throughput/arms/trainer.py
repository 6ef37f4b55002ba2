"""Rows, model, metrics and Trainer of the peers, as their documentation sets them up.

`documented` follows the transformers guide (texts padded to the maximum length) with an evaluation and a checkpoint
per epoch, as a search needs them that stops early or keeps a model. `expert` knows better: no padding but what a batch
needs, batches of like lengths, no checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from benchmarks.throughput.arms import TrialRecord, add
from benchmarks.workload import Workload
from trainables.models.encoders import resolve_model
from trainables.tasks import TaskData, find_task


def rows_of(workload: Workload) -> TaskData:
    """Returns the same rows as every other arm uses: the splits are tunefleet's."""
    data = workload.trial.data
    return find_task(workload.task).load(data.model_copy(update={"max_length": None}))


def tokenised(rows: Dataset, workload: Workload, *, padding: bool) -> Dataset:
    """Tokenises rows; with `padding`, all to the maximum length."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(workload.model))
    columns = [name for name in ("text", "text_pair") if name in rows.column_names]

    def tokenize(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(
            *(batch[name] for name in columns),
            padding="max_length" if padding else False,
            truncation=True,
            max_length=workload.max_length,
        )

    return rows.map(tokenize, batched=True, remove_columns=columns).rename_column("label", "labels")


def fresh_model(workload: Workload, labels: int) -> PreTrainedModel:
    """Makes the pretrained encoder with a new head."""
    path = resolve_model(workload.model)
    return AutoModelForSequenceClassification.from_pretrained(path, num_labels=labels, dtype=torch.float32)


def accuracy(prediction: Any) -> dict[str, float]:
    """Computes the metrics of a Trainer."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def arguments(workload: Workload, folder: Path, *, expert: bool, **own: Any) -> TrainingArguments:
    """Returns the workload as TrainingArguments; everything else is transformers' default, as fp32 is."""
    choices: dict[str, Any] = {"save_strategy": "epoch"}
    if expert:
        choices = {"save_strategy": "no", "train_sampling_strategy": "group_by_length"}
    return TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=workload.epochs,
        per_device_train_batch_size=workload.batch_size,
        per_device_eval_batch_size=workload.eval_batch_size,
        eval_strategy="epoch",
        seed=workload.seed,
        bf16=workload.precision == "bf16",
        use_cpu=workload.device == "cpu",
        report_to="none",
        disable_tqdm=True,
        **(choices | own),
    )


class RecordingTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that leaves a `TrialRecord` in `folder` after each training; it counts tokens as they pass."""

    folder: Path
    tokens = 0

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
        """One forward and backward pass."""
        self.tokens += inputs["input_ids"].numel()
        loss: torch.Tensor = super().training_step(model, inputs, *rest, **named)
        return loss

    def train(self, *positional: Any, **named: Any) -> Any:
        """Trains one trial, and records its rate, its last scores, its tokens and its steps."""
        self.tokens = 0
        output = super().train(*positional, **named)
        scores = [entry for entry in self.state.log_history if "eval_accuracy" in entry][-1]
        record = TrialRecord(
            learning_rate=self.args.learning_rate,
            accuracy=scores["eval_accuracy"],
            loss=scores["eval_loss"],
            tokens=self.tokens,
            steps=self.state.global_step,
        )
        add(self.folder, record)
        return output


def make_trainer(workload: Workload, folder: Path, rows: TaskData, *, expert: bool, **own: Any) -> RecordingTrainer:
    """Makes a Trainer for a search, which makes its model anew for every trial."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(workload.model))
    labels = rows.num_labels
    trainer = RecordingTrainer(
        model_init=lambda: fresh_model(workload, labels),
        args=arguments(workload, folder, expert=expert, **own),
        train_dataset=tokenised(rows.train, workload, padding=not expert),
        eval_dataset=tokenised(rows.validation, workload, padding=not expert),
        data_collator=DataCollatorWithPadding(tokenizer) if expert else None,
        compute_metrics=accuracy,
    )
    trainer.folder = folder
    return trainer


def objective(metrics: dict[str, float]) -> float:
    """Returns the objective that a search maximises."""
    return float(np.float64(metrics["eval_accuracy"]))
