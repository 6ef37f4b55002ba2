"""Splits batches that do not fit into the device's memory into micro-batches, which are halved until they fit.

What fits is kept as a number of tokens, rows times padded length: a batch of long texts that does not fit makes the
parts of long texts small, not those of short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

Batch = dict[str, torch.Tensor]
T = TypeVar("T")
# In the messages of errors that are no `torch.OutOfMemoryError`: libraries allocate beside torch.
ALLOCATION_FAILED = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # what it needs first is memory
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)


class DeviceMemoryError(RuntimeError):
    """A single row does not fit into the device's memory."""


class MicroBatches:
    """Runs a computation over batches in parts of at most `tokens` tokens, padding included, and at least one row.

    The results of `compute` must add up over the parts of a batch, as a sum over rows, or rows of an output, do.
    """

    def __init__(self) -> None:
        self.tokens: int | None = None  # None: whole batches, because the device never ran out of memory
        self.rows: int | None = None  # of the smallest part so far; None: no batch was cut

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
        except RuntimeError as error:
            if not _of_memory(error):
                raise
            reason, (rows, length) = str(error).partition("\n")[0], part["input_ids"].shape
        # Not in the `except` block: while the error lives, its frames hold the tensors that were in the way.
        if rows == 1:
            raise DeviceMemoryError(
                f"a batch of 1 row of {length} tokens does not fit into the device's memory ({reason}); lower "
                "data.max_length, take a smaller model, or give a trial a larger share of the device "
                "(cluster.gpus_per_trial)"
            )
        self.tokens = (rows + 1) // 2 * length
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _parts(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            size, length = batch["input_ids"].shape
            step = size if self.tokens is None else max(1, self.tokens // length)
            if step < size:
                self.rows = min(step, self.rows or step)
            for start in range(0, size, step):
                yield {name: values[start : start + step] for name, values in batch.items()}


def _of_memory(error: RuntimeError) -> bool:
    """True if the device, or a library on it, could not allocate memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in ALLOCATION_FAILED)
