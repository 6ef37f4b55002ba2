"""Factories of Trainers as users write them, on a tiny model with random weights; workers import them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

WORDS, LENGTH, BATCH, TRAIN, VALIDATION = 64, 8, 16, 64, 32


def rows(count: int, seed: int = 0, *, lengths: bool = False) -> datasets.Dataset:
    """Makes texts of random words, each with its number; the class is 1 if the first word is of the second half."""
    random = np.random.default_rng(seed)
    words = random.integers(4, WORDS, (count, LENGTH))
    sizes = random.integers(3, LENGTH + 1, count) if lengths else np.full(count, LENGTH)
    return datasets.Dataset.from_dict(
        {
            "input_ids": [list(map(int, text[:size])) for text, size in zip(words, sizes, strict=True)],
            "labels": [int(text[0] >= WORDS // 2) for text in words],
            "row": [seed * 1000 + number for number in range(count)],
        }
    )


def tiny_model(**config: Any) -> BertForSequenceClassification:
    """Makes a BERT of one layer, with dropout."""
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(
        BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, **{**small, **config})
    )


def fresh_model() -> BertForSequenceClassification:
    """Makes the model of a trial, as a `model_init` that takes the trial."""
    return tiny_model()


def accuracy(scored: Any) -> dict[str, float]:
    """Returns the accuracy."""
    return {"accuracy": float((scored.predictions.argmax(-1) == scored.label_ids).mean())}


class Seen(TrainerCallback):  # type: ignore[misc]
    """A callback that records optimizer, loader and scheduler values at each step, and the rows that passed."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self.rows: list[int] = []
        self.ended = 0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Records the position, and of each group rate, decay and betas."""
        groups = kwargs["optimizer"].param_groups
        values = [(g["lr"], g.get("weight_decay"), g.get("betas")) for g in groups]
        self.steps.append((state.global_step + 1, values, kwargs["train_dataloader"].batch_size))

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Counts the trainings that ended."""
        self.ended += 1

    def collate(self, batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pads a batch of rows."""
        self.rows += [row["row"] for row in batch if row["row"] < TRAIN]
        longest = max(len(row["input_ids"]) for row in batch)
        padded = []
        for row in batch:
            gap = [0] * (longest - len(row["input_ids"]))
            mask = [1] * len(row["input_ids"]) + gap
            padded.append({"input_ids": row["input_ids"] + gap, "attention_mask": mask, "labels": row["labels"]})
        collated: dict[str, torch.Tensor] = default_data_collator(padded)
        return collated


def trainer(params: Mapping[str, Any], kind: type[Trainer] = Trainer, **given: Any) -> Trainer:
    """Makes a Trainer with those arguments, a callback `Seen` as `trainer.seen`, and all that a test gives besides.

    Args:
        params: go before the defaults below.
        given: of the Trainer; `args`: more arguments.
    """
    arguments: dict[str, Any] = {
        **{"output_dir": "unused", "use_cpu": True, "report_to": "none", "disable_tqdm": True, "seed": 3},
        **{"num_train_epochs": 4, "per_device_train_batch_size": BATCH, "learning_rate": 5e-3},
        **{"eval_strategy": "epoch", "save_strategy": "no", "logging_strategy": "no", "remove_unused_columns": False},
        **given.pop("args", {}),
        **params,
    }
    seen = Seen()
    defaults: dict[str, Any] = {
        **({} if "model" in given else {"model_init": fresh_model}),
        **{"train_dataset": rows(TRAIN), "eval_dataset": rows(VALIDATION, 1), "data_collator": seen.collate},
        "compute_metrics": accuracy,
    }
    made = kind(
        args=given.pop("arguments", TrainingArguments)(**arguments),
        callbacks=[seen, *given.pop("callbacks", [])],
        **{**defaults, **given},
    )
    made.seen = seen
    return made


def without_test_rows(params: dict[str, Any]) -> Trainer:
    """Makes a Trainer without `test_dataset`."""
    return trainer(params)


def make_trainer(params: dict[str, Any]) -> Trainer:
    """Makes the Trainer of the whole experiments in the tests."""
    made = trainer(params)
    made.test_dataset = rows(VALIDATION, 2)
    return made


def make_still_trainer(params: dict[str, Any]) -> Trainer:
    """Makes a Trainer for several processes: without dropout, and with BERT's loss as it is.

    Each process draws dropout for its own rows. The Trainer would multiply the loss by the number of processes, as if
    BERT divided it by the labels of the whole step.
    """
    args = {"average_tokens_across_devices": False}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return trainer(params, args=args, model_init=lambda: tiny_model(**still))
