"""The memory of a slot's GPU: torch's allocator as the spec has it, and a cap, so that no trial starves the others.

Ray's fractions of a GPU are bookkeeping only. With a cap, a trial that allocates more runs out of memory by itself and
continues with smaller micro-batches (`trainables.distributed.micro_batches`), instead of taking its neighbours' room.
"""

from __future__ import annotations

import os
import re
import sys

from trainables.machine.devices import DeviceError, computes_for_ray, cuda_starts

# torch reads them when CUDA's memory is first used, also in a forked process. The older name is the first of them, and
# the only one by which 2.9 grows segments (pytorch #183387).
ALLOCATOR, FORMER_ALLOCATOR = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
EXPANDABLE = "expandable_segments"

ALLOCATED = 0.95  # fraction of a slot's share that torch may allocate: other libraries allocate, too
CONTEXT_BYTES = 2**29  # a process's CUDA context, which torch's cap does not count


def set_allocator(*, expandable_segments: bool) -> None:
    """Makes torch's allocator grow its segments on a GPU, where `expandable_segments` is true.

    The user's other settings in the environment stay. Call it in every process that computes, before it uses CUDA.

    Raises:
        DeviceError: CUDA has been used in this worker before, without.
    """
    if not expandable_segments:
        return
    before = os.environ.get(FORMER_ALLOCATOR, os.environ.get(ALLOCATOR, ""))
    grows = re.search(rf"{EXPANDABLE}\s*:\s*True\b", before) is not None
    if not grows and computes_for_ray() and "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise DeviceError(
                f"{EXPANDABLE}: True, and CUDA was used in this process before its trial, with {before!r} as "
                f"{ALLOCATOR}; use no device while a module is imported, or set that variable where Ray starts"
            )
    others = re.sub(rf"{EXPANDABLE}\s*:\s*\w+\s*,?", "", before).strip(" ,")
    setting = before if grows else ",".join(filter(None, (others, f"{EXPANDABLE}:True")))
    os.environ.update({ALLOCATOR: setting, FORMER_ALLOCATOR: setting})


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
