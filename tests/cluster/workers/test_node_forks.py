"""Workers on a node of `tunefleet cluster start`: forked for each of our drivers, and for nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.faults.happenings import driver_of
from benchmarks.faults.kills import Kill, Run, run_through
from tests.support.drivers import Watched
from tests.support.raylets import TRIALS, RayNode, ray_nodes

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux"),
]

OTHERS = """
import sys
import psutil, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
@ray.remote
def look():
    return psutil.Process().parent().name(), "torch" in sys.modules
print(*ray.get(look.remote()))
"""


@pytest.fixture(scope="module")
def head() -> Iterator[RayNode]:
    with tempfile.TemporaryDirectory(prefix="tff", dir="/tmp") as folder, ray_nodes(Path(folder), closed=True) as nodes:
        yield nodes.start("head", cpus=2, gpus=0)


def parents(head: RayNode) -> set[int]:
    """Of the processes that compute trials; each has forked them."""
    slots = [process for process in head.processes() if process.name().startswith(TRIALS)]
    found = {parent.pid: parent for slot in slots if (parent := slot.parent()) is not None}
    assert all("fork_program.py" in " ".join(parent.cmdline()) for parent in found.values())
    return set(found)


def test_the_slots_of_each_driver_are_forked_from_a_process_that_has_imported(head: RayNode, tmp_path: Path) -> None:
    seen: list[set[int]] = []

    def killed_once_seen() -> Kill:
        def kill(run: Run, watched: Watched) -> None:
            watched.wait_until(lambda: len(watched.told) >= 2)
            seen.append(parents(head))
            driver_of(head)(run, watched)

        return kill

    run = run_through(tmp_path, "grid", [killed_once_seen(), killed_once_seen()], head=head, seconds=0.3, slots=2)
    assert len(run.lives) == 3
    (first,), (second,) = seen
    assert first != second  # Ray reads whose job it is as it is imported


def test_a_worker_of_somebody_elses_job_is_started_by_ray(head: RayNode) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OTHERS, head.address],
        env={**os.environ, **head.access},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["raylet", "False"]


def test_all_of_it_ends_with_the_node() -> None:
    with tempfile.TemporaryDirectory(prefix="tff", dir="/tmp") as folder, ray_nodes(Path(folder), closed=True) as nodes:
        node = nodes.start("head", cpus=1, gpus=0)
        servers = [one for one in node.processes() if "fork_program.py" in " ".join(one.cmdline())]
        assert len(servers) == 1
        node.process.kill()  # as nobody can react to
        node.process.wait()
        assert psutil.wait_procs(servers, timeout=30)[1] == []
