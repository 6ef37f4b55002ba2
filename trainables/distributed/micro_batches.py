"""Batches that a device's memory cannot hold at once: they are computed in parts, which start whole and only shrink."""

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

    What `compute` does must add up over the parts of a batch: a sum over rows, or rows of an output.
    """

    def __init__(self) -> None:
        self.rows: int | None = None  # in force; None: whole batches, the device has never run out

    def attempt(self, compute: Callable[[Batch], T], batches: Iterable[Batch]) -> list[T] | None:
        """`compute` of each part, in order; or None if the device ran out of memory, and the parts are smaller now.

        Raises:
            DeviceMemoryError: the parts had one row already.
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
