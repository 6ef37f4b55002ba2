"""What the process of a trial leaves on its node about memory, so that what is left tells why it died.

The kernel kills with SIGKILL and says so to nobody but its own count: of the process's memory cgroup where it has one,
else of the whole machine. A mark holds that count as the trial began, the limit, and what the process held when it
last looked. Read after a death, on the same node, it is evidence or the lack of it.

    /dev/shm/tunefleet-<uid>/memory/<actor id>    20 digits, then JSON; written by the process, removed by its reader
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

EVERY = 0.2  # seconds between two looks at what the process holds
DIGITS = 20
ABANDONED = 3600.0  # seconds after which the mark of a process that is gone has no reader any more
GIB = 2**30
UNLIMITED = 2**63  # bytes
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


class OomEvidence(NamedTuple):
    """What the mark of a dead process says."""

    killed: bool  # the kernel has killed a process there for want of memory since the trial began
    held: int  # bytes that the process held when it last looked
    limit: int  # bytes that it might have had, with all others of its cgroup or its machine
    limited_by: str  # "cgroup" or "machine"

    def describe(self, address: str) -> str:
        """What the kernel has done, in words; `address`: of its node."""
        of = "its cgroup may have" if self.limited_by == "cgroup" else f"node {address} has"
        held = f"it held {self.held / GIB:.2f} GiB when last looked at, of {self.limit / GIB:.2f} GiB that {of}"
        return f"the kernel killed its process: {held}"


class OomCounter(NamedTuple):
    """Where the kernel counts its kills, and the limit behind them."""

    path: str
    limit: int
    limited_by: str

    def kills(self) -> int:
        """As of now; the count is on a line `oom_kill N`."""
        for line in _lines(Path(self.path)):
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        raise FileNotFoundError(f"{self.path} has no line `oom_kill N`")


def oom_counter() -> OomCounter:
    """Of this process.

    Raises:
        OSError: the system keeps no such count (no Linux).
    """
    memory = next((line for line in _lines(PROC / "meminfo") if line.startswith("MemTotal:")), None)
    if memory is None:
        raise OSError("this system has no /proc/meminfo")
    total = int(memory.split()[1]) * 1024
    path, limit = _cgroup() or (PROC / "vmstat", total)
    return OomCounter(str(path), min(limit, total), "cgroup" if limit < total else "machine")


def _cgroup() -> tuple[Path, int] | None:
    """The file with the count of this process's cgroup, and its limit; None without a memory cgroup of its own."""
    names = {}
    for line in _lines(PROC / "self/cgroup"):
        _, controllers, name = line.split(":", 2)
        names[controllers] = name.lstrip("/")
    if "memory" in names:
        top = CGROUPS / "memory"
        own = top / names["memory"]
        # Without a namespace of its own a container sees the host's name, and itself at the top.
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
    """Of one process that computes one trial after the other.

    Args:
        name: of the file: Ray's id of the actor.

    Raises:
        OSError: the node has no shared memory for us, or counts no kills.
    """

    def __init__(self, name: str) -> None:
        oom_counter()
        folder = _folder()
        _remove_abandoned(folder)
        self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.begin()
        threading.Thread(target=self._look, name="memory-mark", daemon=True).start()

    def begin(self) -> None:
        """A trial begins, or goes on: what was killed before has nothing to do with it."""
        where = oom_counter()
        text = json.dumps({"pid": os.getpid(), "kills": where.kills(), **where._asdict()}).encode()
        os.pwrite(self._file, f"{_held():0{DIGITS}d}".encode() + text, 0)
        os.ftruncate(self._file, DIGITS + len(text))

    def _look(self) -> None:
        while True:
            time.sleep(EVERY)
            os.pwrite(self._file, f"{_held():0{DIGITS}d}".encode(), 0)


def read_oom_probe(name: str) -> OomEvidence | None:
    """On the node of a process that has died: what its mark says. It is removed. None: there is none."""
    try:
        path = _folder() / name
        text = path.read_text()
        path.unlink()
    except OSError:
        return None
    mark: dict[str, Any] = json.loads(text[DIGITS:])
    where = OomCounter(mark["path"], mark["limit"], mark["limited_by"])
    try:
        killed = where.kills() > mark["kills"]
    except OSError:  # its cgroup has gone with it
        killed = False
    return OomEvidence(killed, int(text[:DIGITS]), where.limit, where.limited_by)


def describe_monitor_kill(actor_id: str, told: str) -> str:
    """What Ray's memory monitor has done, in words.

    Args:
        actor_id: Ray's id of the process.
        told: Ray's error as text; it runs to thousands of characters: of this process, and of all others.
    """
    own = re.search(rf"Actor\({actor_id}\).*?actual memory used=([\d.]+)GB", told)
    node = re.search(r"IP: ([^,]+),.*? was ([\d.]+)GB used / ([\d.]+)GB limit", told)
    held = f"it held {own[1]} GiB" if own else "what it held is not known"
    where = f"node {node[1]} used {node[2]} of {node[3]} GiB" if node else "its node was nearly full"
    return f"Ray's memory monitor killed its process: {held}, and {where}"


_mark: OomProbe | None = None  # of this process, which computes one trial at a time


def start_oom_probe() -> None:
    """A trial begins in this process; nothing where it is no actor of Ray's, or there is no place for a mark."""
    global _mark
    if _mark is not None:
        _mark.begin()
        return
    import ray

    if not ray.is_initialized():
        return  # the context would start one
    actor = ray.get_runtime_context().get_actor_id()
    if actor is not None:
        with contextlib.suppress(OSError):
            _mark = OomProbe(str(actor))


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
    """Bytes of memory that this process holds."""
    return int((PROC / "self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return path.read_text().splitlines()
    return []
