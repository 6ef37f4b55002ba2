"""The share of a GPU's memory that a slot keeps to, so that one trial cannot starve the others on the device.

Ray's fractions of a GPU are bookkeeping only. With a cap a trial that asks for more runs out by itself, and mends that
by itself (`trainables.finetune.finetune`: smaller micro-batches), instead of taking its neighbours' room.
"""

from __future__ import annotations

import sys

ALLOCATED = 0.95  # of a slot's share: the rest is for libraries that allocate past torch
CONTEXT_BYTES = 2**29  # of a process on the device, which torch's cap does not count


def cap_device_memory() -> None:
    """Cap this process at its share of the GPU, as Ray knows it; nothing where it has none, or a whole one.

    To be called when the trial is built: a process without torch by then uses no device memory.
    """
    if "torch" not in sys.modules:
        return
    import torch

    if not torch.cuda.is_available():
        return
    import ray

    if not ray.is_initialized():
        return  # the context would start one

    share = float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))
    if 0 < share < 1:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(capped_fraction(share, total))


def capped_fraction(share: float, total_bytes: int) -> float:
    """What torch may allocate of a device with `total_bytes`, as a fraction, by a slot that holds `share` of it.

    At least half the share: on a small device the context would leave nothing to a small one.
    """
    return max(share * ALLOCATED - CONTEXT_BYTES / total_bytes, share / 2)
