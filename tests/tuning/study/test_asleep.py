"""A laptop that sleeps, whose clock is set back, and then a terminal that is gone: the run ends as it would have."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests.support.drivers import Drivers, reports_seen
from tests.support.gated import Gate
from tests.support.power_cuts import in_virtual_time
from tests.support.stopped_runs import SECONDS, outcomes, spec_of, study_of
from tuning import load_spec
from tuning.outcome import StudyState

pytestmark = pytest.mark.system

HEARTBEAT = 3.0
ASLEEP = 5.0  # seconds
CLOCK = """
import os, time
now = time.time
time.time = lambda: now() - (3600 if os.path.exists(os.environ["SET_BACK"]) else 0)
"""


def test_the_run_ends_as_if_nothing_had_happened_and_says_what_could_not_be_shown(
    drivers: Drivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("SET_BACK", str(tmp_path / "set-back"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"), prepend=os.pathsep)
    gate = Gate(tmp_path / "gate", 3)
    spec_file = tmp_path / "spec.yaml"
    raw = spec_of(tmp_path, "grid", 0.0, cluster={"heartbeat_seconds": HEARTBEAT}, **gate.fields())
    spec_file.write_text(yaml.safe_dump(raw))
    begun = time.monotonic()
    driver = drivers.start("run", str(spec_file))
    assert driver.stdout is not None
    assert driver.stderr is not None
    assert reports_seen(driver, 3) == 3
    signal_to_all(drivers, signal.SIGSTOP)
    time.sleep(ASLEEP)  # longer than heartbeats may be silent: it is this time that must do no harm
    (tmp_path / "set-back").touch()
    signal_to_all(drivers, signal.SIGCONT)
    gate.let(3)
    assert reports_seen(driver, 3) == 3
    driver.stdout.close()  # the terminal is gone
    gate.open()
    told = driver.stderr.read()
    status = driver.wait(timeout=SECONDS)
    took = time.monotonic() - begun

    study, run_folder = study_of(load_spec(spec_file)), load_spec(spec_file).run_folder
    assert study.state is StudyState.FINISHED
    assert outcomes(study) == outcomes(in_virtual_time(load_spec(spec_of(tmp_path / "whole", "grid", 1.0))).studies[0])
    assert "no progress" not in told
    assert "Traceback" not in told, told
    assert status == 141, told
    assert "the run is complete; its comparison could not be written" in told
    assert f"`tunefleet compare {run_folder}`" in told
    # Costs come from a clock that nobody sets. What was stopped has held its devices: that counts.
    assert ASLEEP < study.wall_seconds < took
    costs = [report.device_seconds for trial in study.trials for report in trial.reports]
    assert all(0 < cost < took for cost in costs)
    assert ASLEEP < sum(costs) < took
    assert drivers.alive() == {}


def signal_to_all(drivers: Drivers, number: signal.Signals) -> None:
    """To every process of the run."""
    for pid in drivers.alive():
        os.kill(pid, number)
