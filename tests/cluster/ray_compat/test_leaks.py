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

from tests.support.drivers import own_environment
from tests.support.raylets import RayNode, ray_nodes
from tests.support.specs import curve_fields

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
    # What is free once that is `wanted`, or has not changed for three seconds.
    seen, since, until = free(), time.monotonic(), time.monotonic() + 60
    while seen != wanted and time.monotonic() - since < 3:
        if time.monotonic() > until:
            raise TimeoutError(f"the free cores change all the time, at last {seen}")
        time.sleep(0.05)
        if (now := free()) != seen:
            seen, since = now, time.monotonic()
    return seen

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
    time.sleep(0.5)  # nothing tells when the head has heard of what its node holds

def leak():
    for _ in range(60):
        drop_one()
        if (left := settled(cpus)) < cpus:
            return cpus - left
    return 0

from cluster.ray_compat.leaks import LeakCheck, release_leaks
told = {"idle": release_leaks(), "free": settled(cpus), "leaked": leak()}
if verb == "heal":
    held = placement_group([{"CPU": 2}])
    ray.get(held.ready())
    LeakCheck(period=1000.0).look()
    told["early"] = free() - (cpus - 2)
    LeakCheck(period=0.0).look()
    told["back"] = settled(cpus - 2)
    told["held"] = placement_group_table(held)["state"]
    told["again"] = release_leaks()
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


def test_a_run_gets_the_slots_that_a_killed_driver_has_cost_its_cluster(head: RayNode, tmp_path: Path) -> None:
    leaked = drive(head, "leak")["leaked"]
    assert leaked >= 1  # else Ray has mended it
    raw = curve_fields(
        tmp_path, strategies=[{"kind": "grid", "points": 4}], cluster={"address": head.address, "max_concurrent": CPUS}
    )
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(raw))
    ended = run([sys.executable, "-m", "tuning.cli", "run", str(tmp_path / "spec.yaml")], head)
    assert f"has released {leaked:g} CPU that Ray held for nobody" in ended.stderr


def test_what_is_held_for_nobody_is_given_back_and_nothing_else(head: RayNode) -> None:
    """The run before has left nothing, either."""
    told = drive(head, "heal")
    assert (told["idle"], told["free"]) == ({}, CPUS)
    assert -told["early"] == told["leaked"] >= 1
    assert (told["back"], told["held"], told["again"]) == (CPUS - 2, "CREATED", {})
