"""The devices of this machine, found without Ray or torch, to refuse a trial that a local Ray could never place."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path


def cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus() -> int:
    """The number of NVIDIA devices that a local Ray would find, by the driver's library and CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return 0
    found = _driver_gpus()
    return found if visible is None else min(found, len(visible.split(",")))


def _driver_gpus() -> int:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # no driver on this machine
        return 0
    if nvml.nvmlInit_v2() != 0:
        return 0
    count = ctypes.c_uint(0)
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    nvml.nvmlShutdown()
    return count.value


def why_not_writable(folder: Path) -> str | None:
    """The reason why no file can be made in `folder` (which need not exist yet), or None. Leaves nothing behind."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        return f"{existing} is a file, not a folder"
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"cannot be written: {existing}: {error.strerror}"
