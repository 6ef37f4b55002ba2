"""Garbage collection in processes that train: imported modules are left out, a former trial is freed once."""

from __future__ import annotations

import functools
import gc

import torch


@functools.cache
def freeze_what_is_imported() -> None:
    """Freezes all objects that exist, once per process; call it before the first model is built.

    Each trial collects garbage once. Walking the half million objects of torch and transformers would take 0.3
    CPU-seconds each time, and find nothing.
    """
    gc.collect()
    gc.freeze()


def free_former_trial() -> None:
    """Frees what the last trial of this process has left, on its device as well; call it before a model is built.

    accelerate would do it at each `train()`, so at each report: the host would wait for the device, and the device
    allocate all memory anew.
    """
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
