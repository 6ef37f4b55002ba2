"""Workers on a node of `tunefleet cluster start`: forked for each of our drivers, and for nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.drivers import Drivers, Watched, drivers_in
from tests.support.gated import Gate
from tests.support.proxies import DEAD
from tests.support.raylets import TRIALS, RayNode, ray_nodes
from tests.support.specs import curve_fields

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux"),
]

ENDING = 30.0  # seconds that processes may take to end whose driver or node is gone
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
def behind_a_dead_proxy() -> Iterator[None]:
    """Sets all proxy variables to a dead proxy, for the node and every driver."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
            patch.setenv(name, DEAD)
            patch.setenv(name.upper(), DEAD)
        yield


@pytest.fixture(scope="module")
def head(behind_a_dead_proxy: None) -> Iterator[RayNode]:
    with tempfile.TemporaryDirectory(prefix="tff", dir="/tmp") as folder, ray_nodes(Path(folder), closed=True) as nodes:
        yield nodes.start("head", cpus=2, gpus=0)


def parents(head: RayNode) -> set[int]:
    """Returns the parents of the processes that compute trials; each has forked them."""
    slots = [process for process in head.processes() if process.name().startswith(TRIALS)]
    found = {parent.pid: parent for slot in slots if (parent := slot.parent()) is not None}
    assert all("forking/program.py" in " ".join(parent.cmdline()) for parent in found.values())
    return set(found)


def test_the_slots_of_each_driver_are_forked_from_a_process_that_has_imported(head: RayNode, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", 1)
    raw = curve_fields(
        tmp_path, name="forked", strategies=[{"kind": "grid"}], cluster={"address": head.address}, **gate.fields()
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw))
    with drivers_in(tmp_path) as drivers:
        first = parents_once_seen(drivers, head, "run", str(tmp_path / "spec.yaml"))
        gate.let(2)  # one of them may go to an epoch that is trained again, which nobody reports
        second = parents_once_seen(drivers, head, "resume", "forked", "--storage", str(tmp_path))
    assert first.isdisjoint(second)  # Ray reads whose job it is as it is imported


def parents_once_seen(drivers: Drivers, head: RayNode, *command: str) -> set[int]:
    """Returns the parents of a driver's trials; the driver is killed after the first report."""
    driver = Watched(drivers.start(*command, **head.access))
    assert driver.wait_until(lambda: bool(driver.told) and head.trials() == 2), driver.errors
    found = parents(head)
    assert found
    driver.process.kill()
    driver.end()
    until = time.monotonic() + ENDING
    while head.trials():
        assert time.monotonic() < until, f"trials of a dead driver still run after {ENDING:g} s"
        time.sleep(0.05)
    return found


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


def test_all_of_it_ends_with_the_node(head: RayNode) -> None:
    """This is the last test of the file, as the node is stopped."""
    servers = [one for one in head.processes() if "forking/program.py" in " ".join(one.cmdline())]
    assert servers
    head.process.kill()  # as nobody can react to
    head.process.wait()
    assert psutil.wait_procs(servers, timeout=ENDING)[1] == []
