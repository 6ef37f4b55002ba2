"""Excludes imported modules from garbage collection in processes that train."""

from __future__ import annotations

import functools
import gc


@functools.cache
def freeze_what_is_imported() -> None:
    """Freezes all objects that exist, once per process; call it before the first model is built.

    The Trainer collects garbage at each `train()`. Walking the half million objects of torch and transformers would
    take 0.3 CPU-seconds each time, and find nothing.
    """
    gc.collect()
    gc.freeze()
