"""The OOM probe: evidence, left on the node by a trial's process, of whether the kernel killed it for lack of memory.

The kernel's OOM killer sends SIGKILL and reports it only in a counter: that of the process's memory cgroup, if it has
one, else the machine's. Ray reports such a death as a lost connection; its own OOM error covers only what its memory
monitor kills. So a process keeps a small file with the counter at the beginning of the trial, the memory limit, and
its memory use, updated five times a second. The driver reads the file on the same node after the process has died.

    /dev/shm/tunefleet-<uid>/memory/<actor id>    20 digits (bytes in use), then JSON; removed by its reader
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from trainables.machine.shared_memory import own_root

EVERY = 0.2  # seconds between two updates of the memory use
DIGITS = 20
ABANDONED = 3600.0  # seconds after which the file of a dead process has no reader any more
GIB = 2**30
UNLIMITED = 2**63  # bytes
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class OomEvidence(NamedTuple):
    """The evidence that the probe of a dead process left."""

    killed: bool  # the kernel's counter has risen since the trial began: it killed a process for lack of memory
    held: int  # bytes of memory that the process used at the last update
    limit: int  # bytes of memory that all processes of its cgroup or machine may use together
    limited_by: str  # "cgroup" or "machine"

    def describe(self, address: str) -> str:
        """Describes the kill in words; `address` is the node's."""
        of = "its cgroup may have" if self.limited_by == "cgroup" else f"node {address} has"
        held = f"it held {self.held / GIB:.2f} GiB when last looked at, of {self.limit / GIB:.2f} GiB that {of}"
        return f"the kernel killed its process: {held}"


class OomCounter(NamedTuple):
    """The file in which the kernel counts its OOM kills, and the memory limit behind them."""

    path: str
    limit: int
    limited_by: str

    def kills(self) -> int:
        """Reads the current count from the line `oom_kill N`.

        Raises:
            OSError: the file, or that line, does not exist.
        """
        for line in _lines(Path(self.path)):
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        raise FileNotFoundError(f"{self.path} has no line `oom_kill N`")


def oom_counter() -> OomCounter:
    """Finds the counter and the memory limit that apply to this process.

    Raises:
        OSError: the system has no such counter (no Linux).
    """
    memory = next((line for line in _lines(PROC / "meminfo") if line.startswith("MemTotal:")), None)
    if memory is None:
        raise OSError("this system has no /proc/meminfo")
    total = int(memory.split()[1]) * 1024
    path, limit = _cgroup() or (PROC / "vmstat", total)
    return OomCounter(str(path), min(limit, total), "cgroup" if limit < total else "machine")


def _cgroup() -> tuple[Path, int] | None:
    """The counter file of this process's memory cgroup, and its limit in bytes; None if it has no such cgroup."""
    names = {}
    for line in _lines(PROC / "self/cgroup"):
        _, controllers, name = line.split(":", 2)
        names[controllers] = name.lstrip("/")
    if "memory" in names:
        top = CGROUPS / "memory"
        own = top / names["memory"]
        # A container without a cgroup namespace sees the host's name of its cgroup, but itself at the root.
        own = own if own.is_dir() else top
        limits = [
            line.split()[1] for line in _lines(own / "memory.stat") if line.startswith("hierarchical_memory_limit")
        ]
        return (own / "memory.oom_control", int(limits[0])) if limits else None
    own = CGROUPS / names.get("", "")
    own = own if own.is_dir() else CGROUPS
    if not (own / "memory.events").is_file():
        return None
    above = [place for place in (own, *own.parents) if place == CGROUPS or CGROUPS in place.parents]
    limits = [line for place in above for line in _lines(place / "memory.max") if line != "max"]
    return own / "memory.events", min(map(int, limits), default=UNLIMITED)


class OomProbe:
    """Keeps the probe's file of this process, which computes one trial after the other.

    Args:
        name: of the file: Ray's actor id.

    Raises:
        OSError: the node has no shared memory that this account may use, or no counter of OOM kills.
    """

    def __init__(self, name: str) -> None:
        oom_counter()
        folder = _folder()
        _remove_abandoned(folder)
        self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.begin()
        threading.Thread(target=self._update, name="oom-probe", daemon=True).start()

    def begin(self) -> None:
        """Called when a trial begins or continues: kills from before do not count."""
        where = oom_counter()
        text = json.dumps({"pid": os.getpid(), "kills": where.kills(), **where._asdict()}).encode()
        os.pwrite(self._file, f"{_held():0{DIGITS}d}".encode() + text, 0)
        os.ftruncate(self._file, DIGITS + len(text))

    def _update(self) -> None:
        while True:
            time.sleep(EVERY)
            os.pwrite(self._file, f"{_held():0{DIGITS}d}".encode(), 0)


def read_oom_probe(name: str) -> OomEvidence | None:
    """Reads and removes the file of a dead process, on its node; None if there is none."""
    try:
        path = _folder() / name
        text = path.read_text()
        path.unlink()
    except OSError:
        return None
    recorded: dict[str, Any] = json.loads(text[DIGITS:])
    where = OomCounter(recorded["path"], recorded["limit"], recorded["limited_by"])
    try:
        killed = where.kills() > recorded["kills"]
    except OSError:  # the cgroup ended with the process
        killed = False
    return OomEvidence(killed, int(text[:DIGITS]), where.limit, where.limited_by)


def describe_monitor_kill(actor_id: str, message: str) -> str:
    """Describes a kill by Ray's memory monitor in one sentence.

    Args:
        actor_id: Ray's id of the actor that was killed.
        message: Ray's error; thousands of characters, about all processes of the node.
    """
    own = re.search(rf"Actor\({actor_id}\).*?actual memory used=([\d.]+)GB", message)
    node = re.search(r"IP: ([^,]+),.*? was ([\d.]+)GB used / ([\d.]+)GB limit", message)
    held = f"it held {own[1]} GiB" if own else "what it held is not known"
    where = f"node {node[1]} used {node[2]} of {node[3]} GiB" if node else "its node was nearly full"
    return f"Ray's memory monitor killed its process: {held}, and {where}"


_probe: OomProbe | None = None  # of this process, which computes one trial at a time


def start_oom_probe() -> None:
    """Call it when a trial begins in this process. Does nothing outside a Ray actor, or if the node allows no probe."""
    global _probe
    if _probe is not None:
        _probe.begin()
        return
    import ray

    if not ray.is_initialized():
        return  # `get_runtime_context` would start Ray
    actor = ray.get_runtime_context().get_actor_id()
    if actor is not None:
        with contextlib.suppress(OSError):
            _probe = OomProbe(str(actor))


def _folder() -> Path:
    folder = own_root() / "memory"
    folder.mkdir(exist_ok=True)
    return folder


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = json.loads(path.read_text()[DIGITS:])["pid"]
            if time.time() - path.stat().st_mtime > ABANDONED and not (PROC / str(pid)).exists():
                path.unlink()


def _held() -> int:
    """The resident memory of this process in bytes."""
    return int((PROC / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_text().splitlines()
    return []
