"""Runs one command and measures its whole tree of processes: `python -m benchmarks.process_tree RESULT COMMAND...`

Ray's processes make that hard: they are daemons (orphans as soon as the command forgets them), their parent ignores
SIGCHLD (the kernel then adds the time of a dead worker to nobody's account), and many are killed. So:

- this process is their subreaper: an orphan becomes its child, and none escapes;
- CPU time is a `perf_event` task clock that all descendants inherit: the kernel adds up every thread that ever ran
  below here, dead or alive. Where the kernel refuses it, the last sample of each process is added up instead, which
  misses up to `INTERVAL` of each; `cpu_method` says which of the two it was;
- bytes written are the last sample of `write_bytes` in /proc/PID/io of each process: what it made dirty in files of a
  disk, `/dev/shm` and other memory file systems not counted. Up to the last `INTERVAL` of a killed process is missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

INTERVAL = 0.1  # seconds between two samples
GRACE = 30.0  # seconds that descendants get to end by themselves after the command has ended
PR_SET_CHILD_SUBREAPER = 36
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}  # system call numbers
TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Usage(NamedTuple):
    """The resources that a command and all its descendants have used."""

    started: float  # on the monotonic clock of this machine
    wall_seconds: float  # from the start of the command to its exit
    cpu_seconds: float  # user and system, all descendants, until the last one has ended
    cpu_method: str  # "task clock" (exact) or "samples" (a lower bound)
    bytes_written: int  # to files on disk; a lower bound
    processes: int  # that were seen
    killed: int  # that outlived the command by GRACE
    status: int  # the command's exit status; negative: the signal that ended it


def main(argv: list[str]) -> int:
    """Runs `argv[1:]`, writes its `Usage` into the file `argv[0]`, exit with its status."""
    result, *command = argv
    usage = run(command)
    Path(result).write_text(json.dumps(usage._asdict()))
    return usage.status if usage.status >= 0 else 128 - usage.status


def run(command: list[str]) -> Usage:
    """Runs one command to its end, and waits for all processes that it has left behind.

    This process must have no other children: all of them are waited for. It stays a subreaper.

    Raises:
        OSError: the command cannot be started, or this system has no subreapers (Linux has).
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    samples = Samples()
    clock, own = _task_clock(), time.thread_time()
    started = time.monotonic()
    process = subprocess.Popen(command)
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: process.send_signal(number))
    status = process.wait()
    wall = time.monotonic() - started
    killed = _wait_for_orphans(started + wall + GRACE)
    samples.stop()
    cpu = samples.cpu_seconds
    if clock is not None:
        # This thread's own time is in it; the sampler's is not: its thread is older than the clock.
        cpu = struct.unpack("Q", os.read(clock, 8))[0] / 1e9 - (time.thread_time() - own)
        os.close(clock)
    method = "samples" if clock is None else "task clock"
    return Usage(started, wall, cpu, method, samples.bytes_written, samples.processes, killed, status)


def _task_clock() -> int | None:
    """Returns a descriptor that counts the nanoseconds of this thread and its descendants; None: not allowed."""
    number = PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None:
        return None
    attributes = bytearray(112)
    software, task_clock, inherit = 1, 1, 1 << 1
    struct.pack_into("IIQ", attributes, 0, software, len(attributes), task_clock)
    struct.pack_into("Q", attributes, 40, inherit)
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    descriptor = ctypes.CDLL(None).syscall(number, buffer, 0, -1, -1, 8)  # 8: closed in what is started
    return descriptor if descriptor >= 0 else None


def _wait_for_orphans(deadline: float) -> int:
    """Reaps every descendant; kills those alive at `deadline` (monotonic), and returns their number."""
    killed: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(killed)
        if pid:
            continue
        if time.monotonic() > deadline:
            for child in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    killed.add(child)
        time.sleep(0.02)


def descendants(root: int) -> list[int]:
    """Returns every living process below `root`, which is not among them."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found, newest = [], [root]
    while newest:
        newest = [pid for pid, parent in parents.items() if parent in newest]
        found += newest
    return found


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat after the name: state, parent, ...; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Samples:
    """Samples in a thread what each process below this one has used, until `stop`."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], tuple[float, int]] = {}  # (pid, start time) -> CPU seconds, bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread that samples, and waits until it has ended."""
        self._stopped.set()
        self._thread.join()

    @property
    def cpu_seconds(self) -> float:
        """Returns the user and system time of all processes, by their last samples."""
        return sum(cpu for cpu, _ in self._seen.values())

    @property
    def bytes_written(self) -> int:
        """Returns the bytes written to files on disk, by the last samples."""
        return sum(written for _, written in self._seen.values())

    @property
    def processes(self) -> int:
        """Returns the number of processes that were seen."""
        return len(self._seen)

    def _loop(self) -> None:
        while not self._stopped.wait(INTERVAL):
            for pid in descendants(os.getpid()):
                if fields := _stat(pid):
                    cpu = (int(fields[11]) + int(fields[12])) / TICK
                    key = (pid, fields[19])
                    self._seen[key] = (cpu, max(_written(pid), self._seen.get(key, (0, 0))[1]))


def _written(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:  # gone, or a process that we may not look into
        return 0
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
