"""Measures the latency of a trial's model: one validation row at a time, in the trial's own precision."""

from __future__ import annotations

import contextlib

import torch
from datasets import Dataset

from trainables.costs import median_milliseconds, spread_rows
from trainables.distributed.micro_batches import Batch
from trainables.finetune.segment_trainer import SegmentTrainer


def row_latency(trainer: SegmentTrainer, rows: Dataset, seconds: float, *, compiled: bool = False) -> float:
    """The median milliseconds of one row, from its tokens in the host's memory to its logits there.

    A model that is compiled for training is timed as it is without: a batch of one row would be compiled anew.

    Args:
        trainer: that has evaluated; no random number is drawn, and nothing of its training changes.
        rows: sorted by length; rows from the shortest to the longest are timed.
        seconds: see `median_milliseconds`.
        compiled: the model is compiled for training.
    """
    chosen = trainer._remove_unused_columns(rows.select(spread_rows(len(rows))), description="timed")
    batches: list[Batch] = [trainer.data_collator([row]) for row in chosen]
    precision = torch.autocast(trainer.args.device.type, torch.bfloat16, enabled=trainer.args.bf16)
    eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
    trainer.model.eval()
    with torch.no_grad(), precision, eager:
        return median_milliseconds(trainer.logits_of, batches, seconds)
