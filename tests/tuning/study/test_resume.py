"""Real drivers that are stopped by Ctrl-C, SIGTERM, a closed terminal or the end of the machine, and resumed.

What is decided after a resume is the same wherever the study was cut off: test_resume_decisions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.drivers import Drivers, Watched
from tests.support.gated import Gate
from tests.support.offline_runs import rows_of
from tests.support.power_cuts import in_virtual_time
from tests.support.stopped_runs import (
    PLANNED,
    SECONDS,
    check_nothing_was_repeated,
    going_on,
    lose_the_states,
    memory_of,
    outcomes,
    spec_of,
    study_of,
)
from tuning import load_spec
from tuning.outcome import StudyOutcome, StudyState, TrialState

pytestmark = pytest.mark.system

HOW = {
    signal.SIGTERM: os.kill,
    signal.SIGHUP: os.killpg,  # as a terminal does that is closed
    signal.SIGINT: os.kill,
}


def test_a_population_that_is_stopped_in_every_way_ends_as_if_nothing_had_happened(
    drivers: Drivers, tmp_path: Path
) -> None:
    """Each time by the command that the stopped driver has told; at last all processes and the states are lost."""
    gate = Gate(tmp_path / "gate", 0)
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, "pbt", 0.0, **gate.fields())))
    spec = load_spec(spec_file)
    command, stopped = ["run", str(spec_file)], list[StudyOutcome]()
    for number, send in HOW.items():
        driver = one_life(drivers, gate, command, reports=2)
        send(driver.process.pid, number)
        assert driver.end() == 130, driver.errors
        assert driver.errors.count("resume") == 1, driver.errors
        assert (drivers.alive(), list(drivers.temp.iterdir())) == ({}, [])
        stopped.append(study_of(spec))
        command = going_on(driver.errors)
    driver = one_life(drivers, gate, command, reports=2)
    drivers.pull_the_plug()
    driver.end()
    drivers.clear()
    killed = study_of(spec)
    (study,) = (spec.run_folder / "studies").iterdir()
    lose_the_states(study)

    gate.open()
    resumed = drivers.start("resume", "stopped", "--storage", str(tmp_path))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    assert after.state is StudyState.FINISHED
    for before in stopped:
        assert before.state is StudyState.RUNNING
        check_nothing_was_repeated(before, after, graceful=True)
    assert sum(len(trial.reports) for trial in killed.trials) > len(HOW)
    check_nothing_was_repeated(killed, after, graceful=False)
    (expected,) = in_virtual_time(load_spec(spec_of(tmp_path / "whole", "pbt", 1.0))).studies
    assert outcomes(after) == outcomes(expected)
    assert len(outcomes(after)) == PLANNED["pbt"]
    assert after.test is not None
    assert expected.test is not None
    assert after.test.metrics == expected.test.metrics
    assert [str(path) for path in study.glob("*/checkpoint_*")] == [after.test.checkpoint]
    assert not list(memory_of(study).iterdir())


def one_life(drivers: Drivers, gate: Gate, command: list[str], *, reports: int) -> Watched:
    """A driver that has told so many reports and waits in the epoch after them."""
    gate.let(reports)
    driver = Watched(drivers.start(*command))
    assert driver.wait_until(lambda: len(driver.told) >= reports), driver.errors
    return driver


@pytest.mark.parametrize("everybody", [False, True])
def test_a_signal_to_all_processes_of_a_run_is_one_to_its_driver(
    drivers: Drivers, tmp_path: Path, everybody: bool
) -> None:
    """The signal goes to the process group, with Ray's servers, as `timeout` and a shell's `kill %1` send it.

    Or it goes to the trials and W&B's processes as well, as from a batch system or a service manager.
    """
    gate = Gate(tmp_path / "gate", 0)
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, "grid", 0.0, **gate.fields(), wandb={"mode": "offline"})))
    spec = load_spec(spec_file)
    driver = one_life(drivers, gate, ["run", str(spec_file)], reports=2)
    written = spec.run_folder.joinpath("wandb").glob
    assert driver.wait_until(lambda: any(written("offline-run-*/*.wandb"))), driver.errors
    if everybody:
        for pid in drivers.alive():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGTERM)
    else:
        os.killpg(driver.process.pid, signal.SIGTERM)
    assert driver.end() == 130, driver.errors
    assert going_on(driver.errors) == ["resume", str(spec.run_folder)]
    assert "not uploaded" not in driver.errors  # as of a W&B run that waits in vain to be told its end
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

    gate.open()
    resumed = drivers.start("resume", "stopped", "--storage", str(tmp_path))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    check_nothing_was_repeated(before, after, graceful=True)
    assert after.count(TrialState.FAILED) == 0


def test_a_driver_that_is_started_without_standard_streams_runs_to_its_end(tmp_path: Path) -> None:
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec_of(tmp_path, "grid", 0.0)))
    command = [
        "sh",
        "-c",
        'exec "$@" <&- >&- 2>&-',
        "sh",
        sys.executable,
        "-m",
        "tuning.cli",
        "run",
        str(spec_file),
    ]
    assert subprocess.run(command, cwd=tmp_path, timeout=SECONDS, check=False).returncode == 0
    assert study_of(load_spec(spec_file)).state is StudyState.FINISHED
