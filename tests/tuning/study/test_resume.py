"""Interrupted and resumed: drivers in processes of their own, stopped by Ctrl-C, SIGTERM, a closed terminal or
the end of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.support.drivers import Drivers, reports_seen
from tests.support.offline_runs import rows_of
from tests.support.outcomes import known_to_tune
from tests.support.stopped_runs import (
    PLANNED,
    SECONDS,
    going_on,
    lose_the_states,
    memory_of,
    outcomes,
    spec_of,
    stop_after,
    study_of,
)
from trainables.spec import Objective
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.space import Space
from tuning.strategies import Plan
from tuning.strategies.hyperopt_asha import HyperOptAsha


@pytest.mark.ray
@pytest.mark.parametrize(
    ("strategy", "how", "reports", "lost"),
    [
        ("grid", signal.SIGTERM, 6, False),
        ("grid", signal.SIGHUP, 6, False),
        ("pbt", signal.SIGINT, 5, False),
        ("pbt", None, 5, True),
        ("hyperopt_asha", None, 9, False),
    ],  # more moments: `python -m benchmarks.faults decisions`
)
def test_a_stopped_run_goes_on_and_ends_as_if_nothing_had_happened(
    ray_session: None,
    drivers: Drivers,
    tmp_path: Path,
    strategy: str,
    how: signal.Signals | None,
    reports: int,
    lost: bool,
) -> None:
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, strategy, 0.3)))
    spec = load_spec(spec_file)
    driver = drivers.start("run", str(spec_file))
    told = stop_after(driver, reports, how, drivers)
    before = study_of(spec)
    assert before.state is StudyState.RUNNING
    assert sum(len(trial.reports) for trial in before.trials) >= reports
    if how is not None:
        assert driver.returncode == 130
        assert told.count("resume") == 1, told
        assert (drivers.alive(), list(drivers.temp.iterdir())) == ({}, [])
    drivers.clear()
    studies = spec.run_folder / "studies"
    if lost:
        lose_the_states(studies / f"{strategy}-seed0")

    resumed = drivers.start(*(("resume", "stopped", "--storage", str(tmp_path)) if how is None else going_on(told)))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    assert after.state is StudyState.FINISHED
    check_nothing_was_repeated(before, after, graceful=how is not None)

    whole = load_spec({**spec_of(tmp_path / "whole", strategy, 0.0)})
    expected = run_experiment(whole, progress=False).studies[0]
    assert outcomes(after) == outcomes(expected)
    assert len(outcomes(after)) == PLANNED[strategy]
    assert after.test is not None
    assert expected.test is not None
    assert after.test.metrics == expected.test.metrics
    assert [str(path) for path in studies.glob("*/*/checkpoint_*")] == [after.test.checkpoint]
    assert not list(memory_of(studies / f"{strategy}-seed0").iterdir())


@pytest.mark.system
@pytest.mark.parametrize("everybody", [False, True])
def test_a_signal_to_all_processes_of_a_run_is_one_to_its_driver(
    drivers: Drivers, tmp_path: Path, everybody: bool
) -> None:
    """To the group, with Ray's servers, as `timeout` and a shell's `kill %1` send it; or also to the trials and W&B's
    processes, as a batch system or a service manager does."""
    spec_file = tmp_path / "spec.yaml"
    longer = {"epochs": 25, "wandb": {"mode": "offline"}}  # than a writer takes to start
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, "grid", 0.2) | longer))
    spec = load_spec(spec_file)
    driver = drivers.start("run", str(spec_file))
    assert reports_seen(driver, 1) == 1
    written = spec.run_folder.joinpath("wandb").glob
    while not any(written("offline-run-*/*.wandb")):
        assert driver.poll() is None
        time.sleep(0.1)
    if everybody:
        for pid in drivers.alive():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGTERM)
    else:
        os.killpg(driver.pid, signal.SIGTERM)
    _, told = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 130
    assert going_on(told) == ["resume", str(spec.run_folder)]
    assert "not uploaded" not in told  # as of a W&B run that waits in vain to be told its end
    assert (drivers.alive(), list(drivers.temp.iterdir())) == ({}, [])
    before = study_of(spec)
    for trial in before.trials:
        files = list(written(f"offline-run-*-{trial.id}/*.wandb"))
        assert everybody or len(files) == 1  # a writer may have been killed while it started
        for file in files:
            rows = [row["epoch"] for row in rows_of(file)]
            assert rows == [report.epoch for report in trial.reports][: len(rows) if everybody else None]
    if not everybody:
        return

    resumed = drivers.start("resume", "stopped", "--storage", str(tmp_path))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    check_nothing_was_repeated(before, after, graceful=True)
    assert after.count(TrialState.FAILED) == 0


@pytest.mark.system
def test_a_driver_that_is_started_without_standard_streams_runs_to_its_end(tmp_path: Path) -> None:
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, "grid", 0.0)))
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "tuning.cli", "run", str(spec_file)]
    assert subprocess.run(command, cwd=tmp_path, timeout=SECONDS, check=False).returncode == 0
    assert study_of(load_spec(spec_file)).state is StudyState.FINISHED


def check_nothing_was_repeated(before: StudyOutcome, after: StudyOutcome, *, graceful: bool) -> None:
    """What was recorded of an ended trial stands; after a graceful end so does all that a checkpoint was made of: the
    last report of a running trial may be made again, and then replaces the first."""
    by_id = {trial.id: trial for trial in after.trials}
    assert not graceful or len(by_id) == PLANNED[after.strategy]
    for trial in before.trials:
        now = by_id[trial.id]
        if trial.state is not TrialState.RUNNING:
            assert (now.state, now.reports) == (trial.state, trial.reports)
        elif graceful:
            assert now.reports[: len(trial.reports) - 1] == trial.reports[:-1]
    for trial in after.trials:
        assert [report.epoch for report in trial.reports] == [n + 1 for n in range(len(trial.reports))]


def decision(plan: Plan, trial_id: str, accuracy: float) -> str:
    """What the plan's scheduler says to a report after one epoch."""
    trial = known_to_tune(trial_id)
    plan.scheduler.on_trial_add(None, trial)
    result = {"epoch": 1, "metrics/accuracy": accuracy, "training_iteration": 1}
    return str(plan.scheduler.on_trial_result(None, trial, result))


@pytest.mark.system
def test_a_restored_search_knows_whom_its_rungs_have_seen(tmp_path: Path) -> None:
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-2]}})

    def plan() -> Plan:
        return HyperOptAsha(trials=8).plan(space, Objective(metric="accuracy", mode="max"), 4, seed=0)

    first, second = plan(), plan()
    assert [decision(first, f"t{n}", 0.5 + n / 10) for n in range(3)] == ["CONTINUE"] * 3
    first.searcher.save(str(tmp_path / "searcher"))
    assert decision(plan(), "late", 0.1) == "CONTINUE"  # the first at an empty rung always goes on
    second.searcher.restore(str(tmp_path / "searcher"))
    assert decision(second, "late", 0.1) == "STOP"
