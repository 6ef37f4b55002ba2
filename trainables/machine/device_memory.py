"""Caps a slot's share of a GPU's memory, so that one trial cannot starve the others on the device.

Ray's fractions of a GPU are bookkeeping only. With a cap, a trial that allocates more runs out of memory by itself and
continues with smaller micro-batches (`trainables.distributed.micro_batches`), instead of taking its neighbours' room.
"""

from __future__ import annotations

import sys

from trainables.machine.devices import cuda_starts

ALLOCATED = 0.95  # fraction of a slot's share that torch may allocate: other libraries allocate, too
CONTEXT_BYTES = 2**29  # a process's CUDA context, which torch's cap does not count


def cap_device_memory() -> None:
    """Caps torch's allocations in this process at its share of the GPU; does nothing if that is none or a whole one.

    Call it when the trial is built: a process without torch by then uses no device memory.
    """
    if "torch" not in sys.modules:
        return
    import torch

    if not cuda_starts():
        return
    import ray

    if not ray.is_initialized():
        return  # `get_runtime_context` would start Ray

    share = float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))
    if 0 < share < 1:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(capped_fraction(share, total))


def capped_fraction(share: float, total_bytes: int) -> float:
    """The fraction of a device with `total_bytes` that torch may allocate in a slot that holds `share` (0 to 1) of it.

    At least half the share: on a small device the CUDA context would leave nothing of a small share.
    """
    return max(share * ALLOCATED - CONTEXT_BYTES / total_bytes, share / 2)
