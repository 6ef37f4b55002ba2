"""Identifies a process by more than its number, which a later process may have, and independently of the clock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux; drawn anew at each start of the machine
SECONDS = 1.0  # precision of a start time by the clock


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
