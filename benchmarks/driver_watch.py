"""Watches the process that drives a run, from a thread of it: its memory and CPU time, and the slots that are up."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.process_tree import descendants

INTERVAL = 2.0  # seconds between two samples
PAGE = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """The memory, CPU time and slots of the driver at one moment."""

    seconds: float  # since the watch began
    clock: float  # seconds since 1970 (UTC), as reports are stamped
    cpu_seconds: float  # of the driver
    driver_bytes: int  # resident
    slots: int  # worker processes that a trial has taken
    slot_bytes: int  # resident, all of them; pages that they share count in each


class DriverWatch:
    """Takes a `Sample` at intervals, in a `with` block."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> DriverWatch:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped.set()
        self._thread.join()
        self._take()

    def _loop(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._take()

    def _take(self) -> None:
        slots = _workers()
        seconds, clock = time.monotonic() - self._started, time.time()
        used, own, theirs = time.process_time(), _resident(os.getpid()), sum(map(_resident, slots))
        self.samples.append(Sample(seconds, clock, used, own, len(slots), theirs))


def _workers() -> list[int]:
    """Returns Ray's worker processes below this one that have work; Ray names a process after what it runs."""
    return [pid for pid in descendants(os.getpid()) if (name := _name(pid)) and name != "ray::IDLE"]


def _name(pid: int) -> str | None:
    """Returns the name that Ray has given the process, or an empty text."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].strip()
    except OSError:  # gone
        return None
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    return name if name.startswith("ray::") and name not in agents else None


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:  # gone
        return 0
