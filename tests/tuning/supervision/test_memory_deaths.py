"""Trials that really take more memory than there is are killed by the kernel, in a cgroup, or by Ray's monitor.

How often they start again, and what is logged, is proved in `test_memory_whole`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.raylets import ray_nodes
from tests.support.specs import curve_fields
from tuning import load_spec
from tuning.outcome import StudyOutcome, TrialState
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.system


ALWAYS, ONCE, NEVER = 1e-3, 3e-3, 1e-4  # how often a trial of that rate is a hog
LIMIT = 3 * 2**29  # bytes, for Ray, its workers and the driver; they take half of it
MONITORED = 2**32  # bytes beyond what the machine uses as the test begins: what else runs there may come to need some
MOST = 2**33  # bytes that a hog takes if nobody stops it
SECONDS = 180  # that a driver may take on a busy machine


@pytest.fixture
def temp() -> Iterator[Path]:
    """A folder with a short path: Ray puts its sockets there."""
    folder = Path(tempfile.mkdtemp(prefix="tm", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup with a limit."""
    folder = Path("/sys/fs/cgroup/memory") / f"tunefleet-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no cgroup with a limit can be made here (version 1, as root): {error}")
    yield folder
    folder.rmdir()  # whatever ran there has ended


def run(
    folder: Path,
    temp: Path,
    rates: list[float],
    cgroup: Path | None = None,
    trainable: str = "Hog",
    cluster: Mapping[str, Any] | None = None,
    **settings: str,
) -> tuple[StudyOutcome, str]:
    """Runs a grid of these rates, one after the other; returns the study and the output."""
    hogs = {"model.hog": json.dumps([ALWAYS, ONCE]), "model.most": MOST, "model.lives": str(folder / "lives")}
    spec = curve_fields(
        folder,
        trainable=f"tests.support.own_trainables:{trainable}",
        epochs=2,
        objective={"metric": "accuracy", "mode": "max"},
        space={"learning_rate": {"choice": rates}},
        fixed=hogs,
        strategies=[{"kind": "grid"}],
        cluster={"gpus_per_trial": 0, "max_concurrent": 1, **(cluster or {})},
        test=False,
    )
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    command = [sys.executable, "-m", "tuning.cli", "run", str(folder / "spec.yaml")]
    if cgroup is not None:
        command = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs && exec "$@"', "sh", *command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        command,
        env={**environment, **settings, "TMPDIR": str(temp)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (study,) = StudyStore(load_spec(folder / "spec.yaml").store_url).load(spec["name"]).studies
    return study, done.stderr


def test_a_trial_that_the_kernel_kills_is_started_once_more_and_the_others_finish(
    tmp_path: Path, temp: Path, cgroup: Path
) -> None:
    study, output = run(tmp_path, temp, [ALWAYS, NEVER], cgroup)
    hog, other = study.trials
    reason = "the kernel killed its process: it held "
    assert (hog.state, other.state) == (TrialState.FAILED, TrialState.COMPLETED), output
    assert str(hog.error).startswith(f"OutOfMemory: {reason}")
    assert "of 1.50 GiB that its cgroup may have" in str(hog.error)
    assert "out of memory, also when started once more" in str(hog.error)
    assert output.count(f"{hog.id}: {reason}") == output.count("it is started once more") == 1


def test_a_worker_of_a_trial_of_two_gpus_that_the_kernel_kills_is_reported_as_well(
    tmp_path: Path, temp: Path, cgroup: Path
) -> None:
    with ray_nodes(temp) as nodes:
        head = nodes.start("head", cpus=4, gpus=2)
        for process in head.processes():  # what they start from now on is limited
            (cgroup / "cgroup.procs").write_text(str(process.pid))
        cluster = {"address": head.address, "allow_unauthenticated": True, "gpus_per_trial": 2}
        study, output = run(tmp_path, temp, [ONCE], trainable="HogsTogether", cluster=cluster, RAY_AUTH_MODE="disabled")
    (trial,) = study.trials
    assert [report.epoch for report in trial.reports] == [1, 2], output
    reason = "worker 1 of this trial's 2 died (rank, from 0): the kernel killed its process: it held "
    assert output.count(f"{trial.id}: {reason}") == output.count("it is started once more") == 1


def test_a_trial_that_rays_memory_monitor_kills_does_not_end_the_experiment(tmp_path: Path, temp: Path) -> None:
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()
    }
    total = memory["MemTotal"]
    if memory["MemAvailable"] < 2 * MONITORED:
        pytest.skip("too little memory is free")
    threshold = (total - memory["MemAvailable"] + MONITORED) / total
    settings = {"RAY_memory_usage_threshold": str(threshold), "RAY_memory_monitor_refresh_ms": "100"}
    study, output = run(tmp_path, temp, [ONCE, NEVER], **settings)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 2, output
    reason = "Ray's memory monitor killed its process: it held "
    assert output.count(f"{study.trials[0].id}: {reason}") == output.count("it is started once more") == 1
    assert "GiB, and node " in output
