"""Cores that Ray holds for placement groups which went away while they were made, given back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.faults.experiments import experiment, storage
from tests.support.drivers import own_environment
from tests.support.raylets import RayNode, ray_nodes

pytestmark = pytest.mark.system


CPUS = 4
# Joins the head and drops groups while they are made, until that has cost a core: the node's daemon is stopped while
# the head asks it to reserve, then the head, until the node's answer and the removal are both on their way to it.
DRIVER = """
import json, logging, sys, threading, time
import psutil, ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
address, verb = sys.argv[1:3]
cpus, daemon, head = map(int, sys.argv[3:])
ray.init(address=address, log_to_driver=False, logging_level="error")
daemon, head = psutil.Process(daemon), psutil.Process(head)

def free():
    return ray.available_resources().get("CPU", 0)

def settled(wanted):
    until = time.monotonic() + 10
    while free() != wanted and time.monotonic() < until:
        time.sleep(0.05)
    return free()

def drop_one():
    daemon.suspend()
    group = placement_group([{"CPU": 1}])
    time.sleep(0.05)
    head.suspend()
    daemon.resume()
    time.sleep(0.05)
    dropping = threading.Thread(target=remove_placement_group, args=(group,))
    dropping.start()
    time.sleep(0.05)
    head.resume()
    dropping.join()
    time.sleep(0.5)

def leak():
    for _ in range(60):
        drop_one()
        if (left := settled(cpus)) < cpus:
            return left
    return cpus

from cluster.leaks import Leaks, give_back
told = {"idle": give_back()}
if verb != "clean":
    told["leaked"] = cpus - leak()
if verb == "heal":
    held = placement_group([{"CPU": 2}])
    ray.get(held.ready())
    told["back"] = give_back()
    told["free"] = settled(cpus - 2)
    told["held"] = placement_group_table(held)["state"]
    told["again"] = give_back()
    remove_placement_group(held)
    settled(cpus)
    told["leaked again"] = cpus - leak()
    Leaks(period=1000.0).look()
    told["early"] = cpus - free()
    Leaks(period=0.0).look()
    told["free again"] = settled(cpus)
else:
    told["free"] = free()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def head() -> Iterator[RayNode]:
    with tempfile.TemporaryDirectory(prefix="tff", dir="/tmp") as folder, ray_nodes(Path(folder), closed=True) as nodes:
        yield nodes.start("head", cpus=CPUS, gpus=0)


def run(command: list[str], head: RayNode) -> subprocess.CompletedProcess[str]:
    environment = {**own_environment(), **head.access}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def drive(head: RayNode, verb: str) -> dict[str, Any]:
    pids = {process.name(): process.pid for process in head.processes()}
    command = [
        sys.executable,
        "-c",
        DRIVER,
        head.address,
        verb,
        str(CPUS),
        str(pids["raylet"]),
        str(pids["gcs_server"]),
    ]
    told: dict[str, Any] = json.loads(run(command, head).stdout.splitlines()[-1])
    return told


def test_what_is_held_for_nobody_is_given_back_and_nothing_else(head: RayNode) -> None:
    told = drive(head, "heal")
    assert told["idle"] == {}
    assert told["leaked"] >= 1  # else Ray has mended it
    assert told["back"] == {"CPU": told["leaked"]}
    assert (told["free"], told["held"], told["again"]) == (CPUS - 2, "CREATED", {})
    assert told["early"] == told["leaked again"] >= 1
    assert told["free again"] == CPUS


def test_a_run_gets_the_slots_that_a_killed_driver_has_cost_its_cluster(head: RayNode, tmp_path: Path) -> None:
    left = drive(head, "leak")
    assert left["leaked"] >= 1
    storage(tmp_path).mkdir()
    raw = experiment(tmp_path, "grid", seconds=0.1, slots=CPUS)
    raw["cluster"]["address"] = head.address
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw))
    ended = run([sys.executable, "-m", "tuning.cli", "run", str(tmp_path / "spec.yaml")], head)
    assert f"has {left['leaked']:g} CPU more, as it was asked for what Ray holds for nobody" in ended.stderr
    assert drive(head, "clean") == {"idle": {}, "free": CPUS}
