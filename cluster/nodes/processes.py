"""Processes of this machine: one that can be found again, and the end of several.

A process is identified by more than its number, which a later one may have, and independently of the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux; drawn anew at each start of the machine
SECONDS = 1.0  # precision of a start time by the clock
POLL = 0.02  # seconds


class ProcessMark(NamedTuple):
    """Identifies one process; can be recorded in a file."""

    pid: int
    began: float  # ticks since the machine started; without /proc seconds since 1970
    boot: str | None  # id of this start of the machine; None: `began` is by the clock


def mark_of(pid: int) -> ProcessMark:
    """Returns the mark of a running process.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    import psutil

    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return ProcessMark(pid, float(fields[19]), BOOT.read_text().strip())
    except OSError:
        return ProcessMark(pid, psutil.Process(pid).create_time(), None)


def find_process(mark: ProcessMark) -> psutil.Process | None:
    """Returns the process with that mark; None if it has ended, also when another one has its number now."""
    import psutil

    try:
        process = psutil.Process(mark.pid)
        if mark.boot is None:
            return process if abs(process.create_time() - mark.began) < SECONDS else None
        return process if mark_of(mark.pid) == mark else None
    except psutil.NoSuchProcess:
        return None


def wait_for_ends(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until all have ended, at most so many seconds; returns those that still run.

    One that has ended, and whose parent does not ask for its status, counts as ended; `psutil.wait_procs` would wait.
    So it is with orphans in a container whose first process is no init.
    """
    running, until = list(processes), time.monotonic() + seconds
    while (running := [process for process in running if _runs(process)]) and time.monotonic() < until:
        time.sleep(POLL)
    return running


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
