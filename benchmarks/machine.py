"""Describes the machine of a result: cores, processor, memory, device, versions; no host name, no path."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from tuning.run_folder.provenance import library_versions


def machine() -> dict[str, Any]:
    """Returns the machine as the operating system reports it; `device` is the first GPU, or None."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _first(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)") or platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": library_versions(),
    }


def _device() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _first(path: Path, pattern: str) -> str | None:
    found = re.search(pattern, path.read_text()) if path.is_file() else None
    return found[1].strip() if found else None
