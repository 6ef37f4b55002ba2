"""Which process it was: a mark that tells it from a later one of the same number, whatever the clock has done since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux; drawn anew at each start of the machine
SECONDS = 1.0  # how exactly a start is known by the clock


class ProcessMark(NamedTuple):
    """A process as it can be written down."""

    pid: int
    began: float  # ticks since the machine has started; without /proc seconds since 1970
    boot: str | None  # which start of the machine; None: `began` is by the clock


def mark_of(pid: int) -> ProcessMark:
    """The mark of a process that runs.

    Raises:
        psutil.NoSuchProcess: none does.
    """
    import psutil

    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return ProcessMark(pid, float(fields[19]), BOOT.read_text().strip())
    except OSError:
        return ProcessMark(pid, psutil.Process(pid).create_time(), None)


def find_process(mark: ProcessMark) -> psutil.Process | None:
    """The process of that mark; None: it has ended, and its number may be another's."""
    import psutil

    try:
        process = psutil.Process(mark.pid)
        if mark.boot is None:
            return process if abs(process.create_time() - mark.began) < SECONDS else None
        return process if mark_of(mark.pid) == mark else None
    except psutil.NoSuchProcess:
        return None
