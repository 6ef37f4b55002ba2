"""Runs of the closed-form trial in drivers of their own that are stopped, and what they have left."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers import Drivers, reports_seen
from trainables.shared_memory import SharedMemory
from tuning.outcome import StudyOutcome
from tuning.spec import ExperimentSpec
from tuning.store.study_store import StudyStore

STRATEGIES: dict[str, dict[str, Any]] = {
    "grid": {"kind": "grid", "points": 4},
    "hyperopt_asha": {"kind": "hyperopt_asha", "trials": 8, "initial_random": 4},
    "pbt": {"kind": "pbt", "population": 3, "quantile": 0.34},
}
PLANNED = {"grid": 4, "hyperopt_asha": 8, "pbt": 3}
SECONDS = 120  # that a driver may take to its first reports, or to its end, on a busy machine


def spec_of(folder: Path, strategy: str, seconds_per_epoch: float) -> dict[str, Any]:
    """One study in one slot: with nobody beside it, the outcome does not depend on who is faster."""
    return {
        "name": "stopped",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": seconds_per_epoch},
        "strategies": [STRATEGIES[strategy]],
        "cluster": {"storage": str(folder), "max_concurrent": 1},
    }


def stop_after(driver: subprocess.Popen[str], reports: int, how: signal.Signals | None, drivers: Drivers) -> str:
    """Wait for that many reports, stop the driver, and return what it said on standard error."""
    if (seen := reports_seen(driver, reports)) < reports:
        pytest.fail(f"the driver ended after {seen} reports: {driver.communicate()[1]}")
    if how is None:
        drivers.pull_the_plug()
    elif how is signal.SIGHUP:
        os.killpg(driver.pid, how)  # as a terminal does that is closed
    else:
        driver.send_signal(how)
    return driver.communicate(timeout=SECONDS)[1]


def study_of(spec: ExperimentSpec) -> StudyOutcome:
    (study,) = StudyStore(spec.store_url).load(spec.name).studies
    return study


def outcomes(study: StudyOutcome) -> list[tuple[Any, ...]]:
    """What each trial was, where it ended and with which score; lost ones left out."""
    return sorted(
        (t.params["learning_rate"], str(t.state), [(r.epoch, r.metrics["accuracy"]) for r in t.reports])
        for t in study.trials
        if "lost in an interruption" not in (t.error or "")
    )


def memory_of(study: Path) -> Path:
    """Where the states of a study lie until they are copied."""
    memory = SharedMemory(study)
    memory.close()
    return memory.folder


def lose_the_states(study: Path) -> None:
    """As if the machine had gone between the reports and the copies of their states: the recipes are left."""
    assert list(study.glob("*/checkpoint_*/recipe.json"))
    shutil.rmtree(memory_of(study))
    for state in study.glob("*/checkpoint_*/*-*"):
        shutil.rmtree(state)


def going_on(told: str) -> list[str]:
    """The arguments of the command that a stopped run was told to go on with."""
    found = re.search(r"go on with `tunefleet ([^`]+)`", told)
    assert found, told
    return shlex.split(found[1])
