"""Heads of clusters, each with its own ports, folder and process group."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.heads import NODE_PORTS, Head, clean_environment, free_ports, group_members


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets have long names: pytest's own folders are too deep for them."""
    with tempfile.TemporaryDirectory(prefix="tft", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def start_head(short_folder: Path) -> Iterator[Callable[..., Head]]:
    """Starts `ray start --head --num-gpus=4`, each with its own ports, folder and process group."""
    started: list[subprocess.Popen[str]] = []

    def start(*prefix: str, join: str | None = None, **environment: str) -> Head:
        """`prefix`: a command that the new node runs under; `join`: the head to join, instead of being one."""
        base = free_ports(60)
        command = [*prefix, str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        command += [f"--{name}={base + offset}" for offset, name in enumerate(NODE_PORTS, start=2)]
        command += [f"--min-worker-port={base + 10}", f"--max-worker-port={base + 59}"]
        command += ["--num-cpus=4", "--num-gpus=4", f"--temp-dir={short_folder / str(base)}"]
        if join is None:
            command += ["--head", "--include-dashboard=false", f"--port={base}", f"--ray-client-server-port={base + 1}"]
        else:
            command += [f"--address={join}"]
        log = (short_folder / f"head-{base}.log").open("w")
        process = subprocess.Popen(
            command, stdout=log, stderr=log, text=True, start_new_session=True, env=clean_environment(**environment)
        )
        started.append(process)
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in Path(log.name).read_text():
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)
        return Head(f"127.0.0.1:{base}", process)

    yield start
    for process in reversed(started):
        process.terminate()  # the leader alone: it drains the node and ends the others
    for process in started:
        process.wait(timeout=60)
        assert group_members(process.pid) == []
