"""Counts what a trial reads from tensors into Python: there the host waits for a GPU."""

from __future__ import annotations

import collections
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from trainables.finetune.finetune import FineTuning

READS = ("aten._local_scalar_dense", "aten.nonzero", "aten.equal")  # the host waits for these on a device


class Reads(TorchDispatchMode):
    """Counts what reads a tensor's value into Python."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(READS):
            self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def reads(training: FineTuning, epochs: float) -> int:
    """Returns how many values are read while the trial trains for `epochs` and is evaluated."""
    with Reads() as counted:
        training.advance(epochs)
    return counted.seen.total()
