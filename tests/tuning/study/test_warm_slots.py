"""Slots: one process computes trial after trial, all of them at once and never more; one whose trial failed goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import curve_experiment
from tests.support.stamped import FAILS, at_once, stamps
from tuning import run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.testing.simulated_ray import simulated_ray

RATES = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3]


def run(folder: Path, trainable: str, rates: list[float], **changed: Any) -> tuple[StudyOutcome, list[dict[str, Any]]]:
    """One study of the closed form, a grid by default, and what its trials noted."""
    fields = {
        "trainable": f"tests.support.stamped:{trainable}",
        "epochs": 3,
        "fixed": {"model.log": str(folder / "log"), "model.seconds_per_epoch": 0.1},
        "space": {"learning_rate": {"choice": rates}},
        "strategies": [{"kind": "grid"}],
        "test": False,
    }
    (study,) = run_experiment(curve_experiment(folder, **{**fields, **changed}), progress=False).studies
    return study, stamps(folder / "log")


@pytest.mark.ray
def test_a_grid_of_eight_trials_on_two_slots_lives_in_two_processes(ray_session: None, tmp_path: Path) -> None:
    study, noted = run(tmp_path, "Stamped", RATES)
    assert study.count(TrialState.COMPLETED) == 8
    assert len({note["process"] for note in noted}) == 2
    assert at_once(noted) == 2


@pytest.mark.ray
def test_a_process_in_which_a_trial_failed_computes_nothing_more(ray_session: None, tmp_path: Path) -> None:
    """Whatever has failed, and also for the same trial when it is tried again; other trials share a process."""
    rates = [*RATES]
    for number, rate in enumerate(FAILS):
        rates.insert(2 + 3 * number, rate)  # two that do not fail before each, and after it
    study, noted = run(tmp_path, "Failing", rates, max_failures=1, cluster={"max_concurrent": 1})
    failed = {trial.params["learning_rate"] for trial in study.trials if trial.state is TrialState.FAILED}
    assert failed == FAILS.keys()
    assert study.count(TrialState.COMPLETED) == len(rates) - len(FAILS)

    failures = [at for at, note in enumerate(noted) if note["rate"] in FAILS and note["epoch"] == 2]
    assert sorted({noted[at]["rate"] for at in failures}) == sorted(FAILS)
    assert len(failures) > len(FAILS)  # some were tried again, and failed in the same way
    for at in failures:
        assert noted[at]["process"] not in {note["process"] for note in noted[at + 1 :]}
    lives = {note["process"] for note in noted}
    assert len(lives) == len(failures) + (noted[-1]["rate"] not in FAILS)
    alone = [p for p in lives if len({note["rate"] for note in noted if note["process"] == p}) == 1]
    assert len(alone) < len(lives)


@pytest.mark.tune
@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param({"kind": "hyperopt_asha", "trials": 8, "initial_random": 4}, id="asha"),
        pytest.param({"kind": "pbt", "population": 2}, id="pbt-as-many-members-as-slots"),
        pytest.param({"kind": "pbt", "population": 5}, id="pbt-more-members-than-slots"),
    ],
)
def test_all_slots_work_at_the_same_time_and_never_more(tmp_path: Path, strategy: dict[str, Any]) -> None:
    space = {"learning_rate": {"loguniform": [1e-5, 1e-1]}}
    fixed = {"model.log": str(tmp_path / "log"), "model.seconds_per_epoch": 60.0}
    with simulated_ray(tick=60.0):
        _, noted = run(tmp_path, "Stamped", [], strategies=[strategy], space=space, fixed=fixed)
    assert at_once(noted) == 2
    # Not only at the start: also in the second half, after stops and exploits.
    noted.sort(key=lambda note: note["begun"])
    assert at_once(noted[len(noted) // 2 :]) == 2


WARM = """
import json, os, sys, time
from pathlib import Path

import psutil

from cluster.session import connect
from cluster.spec import ClusterSpec
from tuning.tune_compat.tune_run import slot_environment
from tuning.study.worker_imports import slot_imports
from tuning.tune_compat.settings import tune_settings


FOLDER, MODULE = sys.argv[1:]
TRAINS = MODULE.startswith("trainables.finetune")


def workers():
    below = psutil.Process().children(recursive=True)
    return {p.pid for p in below if p.is_running() and p.cmdline() and p.cmdline()[0].startswith("ray::IDLE")}


def look(config):
    from ray import tune
    tune.report({"process": os.getpid(), "imported": MODULE in sys.modules,
                 "threads": os.environ["OMP_NUM_THREADS"]})


with tune_settings(), connect(ClusterSpec(), run_folder=Path(FOLDER), imports=slot_imports(trains=TRAINS)) as session:
    before, services = workers(), sorted(p.name() for p in psutil.Process().children())
    session.warm_up(1, slot_environment())
    until = time.monotonic() + 120
    while not (warm := workers()):
        assert time.monotonic() < until, "no worker was warmed up"
        time.sleep(0.1)
    from ray import tune
    each = session.resources.to_ray()
    (trial,) = tune.run(look, storage_path=FOLDER, resources_per_trial=each, verbose=0).trials
    found = {key: trial.last_result[key] for key in ("process", "imported", "threads")}
    found |= {"services": services, "before": len(before), "warm": sorted(warm), "driver": "torch" in sys.modules}
    print(json.dumps(found))
"""


@pytest.mark.system
@pytest.mark.parametrize("module", ["trainables.finetune.finetune", "trainables.worker.slot"])
def test_a_slot_takes_the_process_that_was_warmed_up_for_it(module: str, tmp_path: Path) -> None:
    """The first module is of trials of the fine-tuning, the second of any."""
    # Tune's own loggers, which no study has, import tensorboardX, and that torch.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    environment.pop("RAY_AUTH_MODE", None)
    ended = subprocess.run(
        [sys.executable, "-c", WARM, str(tmp_path), module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["services"] == ["gcs_server", "python", "raylet"]  # the second forks the workers
    assert found["before"] == 0  # not one per core of the machine
    assert found["warm"] == [found["process"]]
    assert found["imported"]
    assert found["threads"] == "1"
    assert not found["driver"]
