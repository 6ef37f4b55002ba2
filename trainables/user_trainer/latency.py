"""Measures the latency of a user's Trainer: `prediction_step` with one validation row at a time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Subset
from transformers import Trainer
from transformers.trainer_utils import has_length

from trainables.costs import ROWS, median_milliseconds, spread_rows
from trainables.errors import InputError

# Arguments of the loader of these rows: in batches of one, and read by this process.
ONE_BY_ONE = {
    "per_device_eval_batch_size": 1,
    "dataloader_num_workers": 0,
    "dataloader_prefetch_factor": None,
    "dataloader_persistent_workers": False,
}


def trainer_latency(trainer: Trainer, seconds: float) -> float:
    """The median milliseconds that `trainer.prediction_step` takes for one row, with the loss that it computes.

    A Trainer that generates does so for each row. Rows are collated beforehand.

    Args:
        trainer: that has evaluated, in a state that may be disturbed (`isolated_evaluation`).
        seconds: see `trainables.costs.median_milliseconds`.

    Raises:
        InputError: it has no validation rows.
    """
    rows = trainer.eval_dataset
    rows = next(iter(rows.values()), None) if isinstance(rows, Mapping) else rows
    with _arguments(trainer, ONE_BY_ONE):
        batches = [] if rows is None else list(trainer.get_eval_dataloader(_chosen(rows)))
    if not batches:
        step = "give it an eval_dataset, or leave latency_ms out"
        raise InputError("measure", "latency_ms", "the Trainer has no validation rows to time", step)
    cuda, model = trainer.args.device.type == "cuda", trainer.model
    model.eval()

    def run(batch: Any) -> None:
        trainer.prediction_step(model, batch, prediction_loss_only=False)
        if cuda:
            torch.cuda.synchronize()

    return median_milliseconds(run, batches, seconds)


def _chosen(rows: Any) -> Any:
    """Some rows of `rows` that lie evenly; the first ones if their number is not known."""
    if not has_length(rows):
        return list(itertools.islice(rows, ROWS))
    numbers = spread_rows(len(rows))
    return rows.select(numbers) if isinstance(rows, Dataset) else Subset(rows, numbers)


@contextlib.contextmanager
def _arguments(trainer: Trainer, values: Mapping[str, Any]) -> Iterator[None]:
    """Sets arguments of the Trainer in the block."""
    before = {name: getattr(trainer.args, name) for name in values}
    vars(trainer.args).update(values)
    try:
        yield
    finally:
        vars(trainer.args).update(before)
