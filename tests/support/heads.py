"""Heads of Ray clusters that a test starts, and programs that join them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TOKEN = "0123456789abcdef" * 4
NODE_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


class Head(NamedTuple):
    """A cluster that `ray start` made for these tests."""

    address: str
    process: subprocess.Popen[str]


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that are all free now, below the range for outgoing connections."""
    for base in range(20000, 32000, count):
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def clean_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {**kept, **more}


def processes() -> Iterator[tuple[int, int, str]]:
    """(process id, process group, command line) of every process that is alive."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            if state != "Z":
                yield int(entry.name), int(group), command


def group_members(group: int) -> list[int]:
    return [pid for pid, own, _ in processes() if own == group]


def drive(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` as a driver: `spec`, `folder` and `connect` are at hand; arguments are address, folder, more."""
    head = (
        "import json, os, sys, time\nfrom pathlib import Path\nfrom cluster import ClusterSpec\n"
        "from cluster.session import ClusterError, connect\n"
        "spec = ClusterSpec(address=sys.argv[1] or None); folder = Path(sys.argv[2])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd="/",  # workers get the driver's folder: the checkout itself must not be the one
        env=clean_environment(**environment),
    )
