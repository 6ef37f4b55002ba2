"""A laptop that sleeps, whose clock is set back by an hour, and then a terminal that is gone: the run ends as it would
have."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.drivers import Drivers
from tests.support.stopped_runs import SECONDS, outcomes, spec_of, study_of
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, StudyState

pytestmark = pytest.mark.ray


HEARTBEAT = 3.0
ASLEEP = 6.0  # seconds
CLOCK = """
import os, time
now = time.time
time.time = lambda: now() - (3600 if os.path.exists(os.environ["SET_BACK"]) else 0)
"""


class Woken(NamedTuple):
    """What came out."""

    status: int
    told: str  # on standard error
    run_folder: Path
    took: float  # seconds in all
    study: StudyOutcome
    expected: StudyOutcome  # undisturbed


@pytest.fixture
def woken(ray_session: None, drivers: Drivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Woken]:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
    monkeypatch.setenv("SET_BACK", str(tmp_path / "set-back"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"), prepend=os.pathsep)
    spec_file, raw = tmp_path / "spec.yaml", spec_of(tmp_path, "grid", 0.4)
    raw["cluster"]["heartbeat_seconds"] = HEARTBEAT
    spec_file.write_text(yaml.safe_dump(raw))
    begun = time.monotonic()
    driver = drivers.start("run", str(spec_file))
    assert driver.stdout is not None
    assert driver.stderr is not None
    seen = 0
    for line in driver.stdout:
        if "  epoch " not in line:
            continue
        seen += 1
        if seen == 3:
            sleep(drivers)
            (tmp_path / "set-back").touch()
            wake(drivers)
        if seen == 6:
            break
    driver.stdout.close()
    told = driver.stderr.read()
    status = driver.wait(timeout=SECONDS)
    took = time.monotonic() - begun
    expected = run_experiment(load_spec(spec_of(tmp_path / "whole", "grid", 0.0)), progress=False).studies[0]
    yield Woken(status, told, load_spec(spec_file).run_folder, took, study_of(load_spec(spec_file)), expected)
    assert drivers.alive() == {}


def sleep(drivers: Drivers) -> None:
    """All processes of the run, for longer than their heartbeats may be silent."""
    for pid in drivers.alive():
        os.kill(pid, signal.SIGSTOP)
    time.sleep(ASLEEP)


def wake(drivers: Drivers) -> None:
    for pid in drivers.alive():
        os.kill(pid, signal.SIGCONT)


def test_the_run_ends_as_if_nothing_had_happened_and_says_what_could_not_be_shown(woken: Woken) -> None:
    assert woken.study.state is StudyState.FINISHED
    assert outcomes(woken.study) == outcomes(woken.expected)
    assert "no progress" not in woken.told
    assert "Traceback" not in woken.told, woken.told
    assert woken.status == 141, woken.told
    assert "the run is complete; its comparison could not be written" in woken.told
    assert f"`tunefleet compare {woken.run_folder}`" in woken.told
    # Costs come from a clock that nobody sets. What was stopped has held its devices: that counts.
    assert ASLEEP < woken.study.wall_seconds < woken.took
    costs = [report.device_seconds for trial in woken.study.trials for report in trial.reports]
    assert all(0 < cost < woken.took for cost in costs)
    assert ASLEEP < sum(costs) < woken.took
