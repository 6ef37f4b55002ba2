"""Slots on real Ray: one process serves trial after trial, all slots work at once, one that fails goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.stamped import FAILS_AT, stamps
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, TrialState

RATES = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3]


def run(folder: Path, trainable: str, slots: int, **changed: Any) -> tuple[StudyOutcome, list[dict[str, Any]]]:
    """One study of the closed form on so many slots, and what its trials noted."""
    raw = {
        "name": "slots",
        "trainable": f"tests.support.stamped:{trainable}",
        "task": "reviews",
        "epochs": 3,
        "fixed": {"model.log": str(folder / "log"), "model.seconds_per_epoch": 0.15},
        "space": {"learning_rate": {"choice": RATES}},
        "strategies": [{"kind": "grid"}],
        "cluster": {"storage": str(folder), "max_concurrent": slots},
        "test": False,
    }
    fixed = {**raw["fixed"], **changed.pop("fixed", {})}  # type: ignore[dict-item]
    (study,) = run_experiment(load_spec({**raw, **changed, "fixed": fixed}), progress=False).studies
    return study, stamps(folder / "log")


def at_once(noted: list[dict[str, Any]]) -> int:
    """The largest number of epochs that were being computed at one moment."""
    edges = sorted([(n["begun"], 1) for n in noted] + [(n["ended"], -1) for n in noted])
    running = [0]
    for _, step in edges:
        running.append(running[-1] + step)
    return max(running)


@pytest.mark.ray
def test_a_grid_of_eight_trials_on_two_slots_lives_in_two_processes(ray_session: None, tmp_path: Path) -> None:
    study, noted = run(tmp_path, "Stamped", slots=2)
    assert study.count(TrialState.COMPLETED) == 8
    assert len({note["process"] for note in noted}) == 2
    assert at_once(noted) == 2


@pytest.mark.ray
@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param({"kind": "hyperopt_asha", "trials": 8, "initial_random": 4}, id="asha"),
        pytest.param({"kind": "pbt", "population": 2}, id="pbt-as-many-members-as-slots"),
        pytest.param({"kind": "pbt", "population": 5}, id="pbt-more-members-than-slots"),
    ],
)
def test_all_slots_work_at_the_same_time_and_never_more(
    ray_session: None, tmp_path: Path, strategy: dict[str, Any]
) -> None:
    space = {"learning_rate": {"loguniform": [1e-5, 1e-1]}}
    _, noted = run(tmp_path, "Stamped", slots=2, strategies=[strategy], space=space)
    assert at_once(noted) == 2
    # Not only at the start: also in the second half, after stops and exploits.
    noted.sort(key=lambda note: note["begun"])
    assert at_once(noted[len(noted) // 2 :]) == 2


@pytest.mark.ray
@pytest.mark.parametrize("failure", ["error", "memory", "fault"])
def test_a_slot_whose_trial_failed_is_replaced(ray_session: None, tmp_path: Path, failure: str) -> None:
    space = {"learning_rate": {"choice": [1e-3, FAILS_AT, 2e-3, 3e-3]}}
    study, noted = run(tmp_path, "Failing", slots=1, space=space, fixed={"model.failure": failure})
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.COMPLETED, TrialState.FAILED, TrialState.COMPLETED, TrialState.COMPLETED]
    processes = {note["rate"]: note["process"] for note in noted}
    assert processes[1e-3] == processes[FAILS_AT] != processes[2e-3] == processes[3e-3]


@pytest.mark.ray
def test_a_trial_that_is_tried_again_after_a_failure_gets_another_process(ray_session: None, tmp_path: Path) -> None:
    space = {"learning_rate": {"choice": [FAILS_AT]}}
    study, noted = run(tmp_path, "Failing", slots=1, space=space, fixed={"model.failure": "error"}, max_failures=1)
    assert study.count(TrialState.FAILED) == 1  # it fails in the same way again
    assert len({note["process"] for note in noted}) == 2


@pytest.mark.ray
def test_the_same_values_score_the_same_on_a_warm_slot_bit_for_bit(
    ray_session: None, tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    data = Path(shutil.copy(tiny_data, tmp_path))
    subset = {"train": 48, "validation": 48, "test": 24}
    spec = load_spec(
        {
            "name": "again",
            "trainable": "tests.support.stamped_fine_tuning:StampedFineTuning",
            "task": "text_classification",
            "model": str(tiny_model),
            "data": {"path": str(data), "text": ["text"], "label": "label", "max_length": 32, "subset": subset},
            "epochs": 2,
            "fixed": {"model.hidden_dropout_prob": 0.3},
            # Two limits that no gradient reaches: A, B, A, B under different values.
            "space": {"max_grad_norm": {"choice": [1e6, 1e9]}, "learning_rate": {"choice": [3e-3, 1e-3]}},
            "strategies": [{"kind": "grid"}],
            "cluster": {"storage": str(tmp_path), "max_concurrent": 1},
            "test": False,
        }
    )
    (study,) = run_experiment(spec, progress=False).studies
    noted = stamps(data.with_suffix(".log"))
    assert [note["rate"] for note in noted] == [3e-3, 1e-3, 3e-3, 1e-3]
    assert len({note["process"] for note in noted}) == 1
    a, b, again, _ = ([dict(report.metrics) for report in trial.reports] for trial in study.trials)
    assert len(a) == 2
    assert again == a
    assert b != a


WARM = """
import json, os, sys, time
from pathlib import Path

import psutil

from cluster.session import connect
from cluster.spec import ClusterSpec
from tuning.run.ray_internals import slot_environment
from tuning.run.slot_imports import slot_imports
from tuning.run.tune_settings import tune_settings


def workers():
    below = psutil.Process().children(recursive=True)
    return {p.pid for p in below if p.is_running() and p.cmdline() and p.cmdline()[0].startswith("ray::IDLE")}


def look(config):
    from ray import tune
    tune.report({"process": os.getpid(), "imported": "trainables.finetune" in sys.modules,
                 "threads": os.environ["OMP_NUM_THREADS"]})


with tune_settings(), connect(ClusterSpec(), run_folder=Path(sys.argv[1]), imports=slot_imports()) as session:
    before, services = workers(), sorted(p.name() for p in psutil.Process().children())
    session.warm_up(1, slot_environment())
    while not (warm := workers()):
        time.sleep(0.1)
    from ray import tune
    each = session.resources.to_ray()
    (trial,) = tune.run(look, storage_path=sys.argv[1], resources_per_trial=each, verbose=0).trials
    found = {key: trial.last_result[key] for key in ("process", "imported", "threads")}
    found |= {"services": services, "before": len(before), "warm": sorted(warm), "driver": "torch" in sys.modules}
    print(json.dumps(found))
"""


@pytest.mark.system
def test_a_slot_takes_the_process_that_was_warmed_up_for_it(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("RAY_AUTH_MODE", None)
    ended = subprocess.run(
        [sys.executable, "-c", WARM, str(tmp_path)],
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
