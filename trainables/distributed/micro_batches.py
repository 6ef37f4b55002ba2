"""Splits batches that do not fit into the device's memory into micro-batches, which are halved until they fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

Batch = dict[str, torch.Tensor]
T = TypeVar("T")


class DeviceMemoryError(RuntimeError):
    """A single row does not fit into the device's memory."""


class MicroBatches:
    """Runs a computation over batches in parts of at most `rows` rows.

    The results of `compute` must add up over the parts of a batch, as a sum over rows, or rows of an output, do.
    """

    def __init__(self) -> None:
        self.rows: int | None = None  # None: whole batches, because the device never ran out of memory

    def attempt(self, compute: Callable[[Batch], T], batches: Iterable[Batch]) -> list[T] | None:
        """Computes each part in order; returns None if the device ran out of memory: the next attempt uses half of it.

        Raises:
            DeviceMemoryError: a part of one row does not fit.
        """
        part: Batch = {}
        try:
            results = []
            for part in self._parts(batches):
                results.append(compute(part))
            return results
        except torch.OutOfMemoryError as error:
            reason, (rows, tokens) = str(error).partition("\n")[0], part["input_ids"].shape
        # Not in the `except` block: while the error lives, its frames hold the tensors that were in the way.
        if rows == 1:
            raise DeviceMemoryError(
                f"a batch of 1 row of {tokens} tokens does not fit into the device's memory ({reason}); lower "
                "data.max_length, take a smaller model, or give a trial a larger share of the device "
                "(cluster.gpus_per_trial)"
            )
        self.rows = (rows + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _parts(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            size = len(batch["input_ids"])
            step = self.rows or size
            for start in range(0, size, step):
                yield {name: values[start : start + step] for name, values in batch.items()}
