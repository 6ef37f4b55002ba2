"""Examines what a machine has and lacks for trials; for `tunefleet doctor`, here or on the nodes of a cluster.

In: nothing, or a folder. Out: findings, each a fact and, if something is wrong, what to do. Imports no torch and sends
nothing over a network.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.capacity import ClusterError
from cluster.node_report import cuda_devices, installed_versions
from cluster.nodes.token_file import ray_folder

SHARED_MEMORY = Path("/dev/shm")
CGROUPS = Path("/sys/fs/cgroup")
LITTLE_MEMORY, LITTLE_SHARED, LITTLE_DISK = 4e9, 1e9, 5e9  # bytes
FULL = 0.95  # share of a disk from which on Ray refuses to write objects to it
FEW_FILES = 4096  # open files per process: Ray's own advice for a node is 65536
PORTS: Mapping[int, str] = {6379: "a head", 8265: "a head's dashboard"}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


class State(StrEnum):
    """The state of a finding. If it is lacking, a run here would fail, or could not start."""

    FINE = "ok"
    NOTE = "note"
    LACKING = "lacking"


@dataclass(frozen=True)
class Finding:
    """One fact about the machine, and what to do about it."""

    topic: str  # one or two words
    state: State
    found: str
    advice: str = ""  # what to do; empty if nothing is wrong

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as a dictionary of texts, for JSON."""
        return {"topic": self.topic, "state": str(self.state), "found": self.found, "advice": self.advice}


def examine_machine() -> list[Finding]:
    """Examines this machine: versions, cores, memory, devices, temporary folder, limits, ports, proxies, and folders of
    other accounts that are in the way.
    """
    checks = (_versions, _cores, _memory, _devices, _shared_memory, _temporary, _open_files, _ports, _proxies, _folders)
    return [finding for check in checks for finding in check()]


def examine_folder(topic: str, folder: Path, advice: str) -> Iterator[Finding]:
    """Checks whether files can be written to `folder`, and how much room there is.

    Args:
        topic: of the finding; one or two words.
        folder: need not exist yet.
        advice: how the user names another folder.
    """
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Finding(topic, State.LACKING, f"{folder} cannot be written: {error.strerror}", advice)
        return
    usage = shutil.disk_usage(existing)
    text = f"{folder}: {_size(usage.free)} of {_size(usage.total)} free"
    if usage.free < LITTLE_DISK:
        yield Finding(topic, State.NOTE, text, f"make room, or {advice}: checkpoints of one model take gigabytes")
    else:
        yield Finding(topic, State.FINE, text)


def _versions() -> Iterator[Finding]:
    versions = installed_versions()
    yield Finding("versions", State.FINE, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _cores() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    text = f"{usable} cores" if usable > 1 else "1 core"
    if quota is not None and quota < usable:
        text += f", of which this container may use {quota:g} at a time"
    yield Finding("cores", State.FINE, text)


def _quota() -> float | None:
    """Returns how many cores the container may use at a time, as a fraction; None if no limit is known."""
    try:
        limit, period = (CGROUPS / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    limit, total, free = _memory_limit(), memory.total, memory.available
    if limit is not None and limit < total:
        total, free = limit, min(free, limit)
    text = f"{_size(free)} of {_size(total)} free"
    if free < LITTLE_MEMORY:
        advice = "end other programs, or give the container more: one trial of a small model takes 1 to 2 GB"
        yield Finding("memory", State.NOTE, text, advice)
    else:
        yield Finding("memory", State.FINE, text)


def _memory_limit() -> int | None:
    try:
        text = (CGROUPS / "memory.max").read_text().strip()
    except OSError:
        return None
    return None if text == "max" else int(text)


def _devices() -> Iterator[Finding]:
    versions = installed_versions()
    torch, cuda = versions.get("torch", "missing"), cuda_devices()
    if isinstance(cuda, int) and cuda > 0:
        if torch.endswith("+cpu"):
            advice = "install torch with CUDA (pip install torch, from the index that its site names for your driver)"
            yield Finding("devices", State.LACKING, f"{cuda} CUDA devices, and torch {torch} cannot use them", advice)
        else:
            yield Finding("devices", State.FINE, f"{cuda} CUDA device{'s' if cuda > 1 else ''}")
    elif Path("/dev/nvidia0").exists():
        advice = "mend the driver (nvidia-smi), or start the container with --gpus all"
        yield Finding("devices", State.LACKING, f"there is an NVIDIA device, and CUDA finds none ({cuda})", advice)
    else:
        yield Finding("devices", State.FINE, "no GPU: trials train on the CPU")


def _shared_memory() -> Iterator[Finding]:
    if not SHARED_MEMORY.is_dir():
        advice = "nothing: states of trials go to the storage, and Ray's objects to the temporary folder; it is slower"
        yield Finding("/dev/shm", State.NOTE, "there is none", advice)
        return
    usage = shutil.disk_usage(SHARED_MEMORY)
    text = f"{_size(usage.free)} of {_size(usage.total)} free"
    if usage.free < LITTLE_SHARED:
        advice = (
            "start the container with --shm-size=8g (Kubernetes: an emptyDir of medium Memory at /dev/shm), or remove "
            "what is left there: states of trials go to the storage instead, Ray's objects to the disk; it is slower"
        )
        yield Finding("/dev/shm", State.NOTE, text, advice)
    else:
        yield Finding("/dev/shm", State.FINE, text)


def _temporary() -> Iterator[Finding]:
    folder = Path(tempfile.gettempdir())
    advice = "set TMPDIR to a short path on a disk with room"
    usage = shutil.disk_usage(folder)
    if usage.used > FULL * usage.total:
        text = f"{folder}: its disk is more than {FULL:.0%} full, and Ray then writes no objects to it"
        yield Finding("temporary", State.LACKING, text, f"make room, or {advice}")
    else:
        yield from examine_folder("temporary", folder, advice)


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        advice = f"ulimit -n 65536 in the shell that starts Ray (this account may go up to {most})"
        yield Finding("open files", State.NOTE, f"at most {soft} per process", advice)
    else:
        shown = "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft} per process"
        yield Finding("open files", State.FINE, shown)


def _ports() -> Iterator[Finding]:
    try:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
    except OSError as error:
        text = f"no port of 127.0.0.1 can be opened: {error.strerror}"
        yield Finding("ports", State.LACKING, text, "Ray needs the loopback interface: give the container a network")
        return
    taken = [f"{port} ({what})" for port, what in PORTS.items() if not _is_free(port)]
    if taken:
        advice = "it matters to `tunefleet cluster start --head` alone: give other ones after `--` (--port, ...)"
        yield Finding("ports", State.NOTE, f"in use: {', '.join(taken)}", advice)
    else:
        yield Finding("ports", State.FINE, f"loopback works; {', '.join(map(str, PORTS))} are free")


def _is_free(port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex(("127.0.0.1", port)) != 0


def _proxies() -> Iterator[Finding]:
    found = {name: value for name, value in os.environ.items() if name.lower() in PROXIES and value}
    if not found:
        yield Finding("proxies", State.FINE, "none is set")
        return
    shown = ", ".join(f"{name}={_without_password(value)}" for name, value in sorted(found.items()))
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    advice = (
        "nothing for this machine: a run asks none for it. The Hub and W&B are reached through it; where a cluster's "
        "head is at another address, put that into no_proxy"
    )
    yield Finding("proxies", State.NOTE, f"{shown}; no_proxy={exempt or ''}", advice)


def _without_password(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"//{url}")
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}" if parts.scheme else place


def _folders() -> Iterator[Finding]:
    """Looks for folders of other accounts that have a name that this account would use for its own."""
    try:
        folder = ray_folder(make=False).parent
    except ClusterError as error:
        yield Finding("other accounts", State.LACKING, str(error), "have its owner or root remove it")
        return
    if (shared := SHARED_MEMORY / f"tunefleet-{os.getuid()}").exists() and shared.lstat().st_uid != os.getuid():
        text = f"{shared} belongs to account {shared.lstat().st_uid}"
        yield Finding("other accounts", State.LACKING, text, "have its owner or root remove it")
        return
    yield Finding("other accounts", State.FINE, f"nothing of theirs is in the way of {folder}")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
