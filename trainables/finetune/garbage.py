"""What Python's search for garbage need not walk through, in processes that train."""

from __future__ import annotations

import functools
import gc


@functools.cache
def freeze_what_is_imported() -> None:
    """Once per process, before its first model: the Trainer collects garbage at each `train()`, and would walk through
    half a million objects of torch and transformers, 0.3 CPU-seconds, to find none."""
    gc.collect()
    gc.freeze()
