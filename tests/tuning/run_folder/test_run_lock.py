"""Two drivers on one experiment: the second is told who holds it; one that was killed holds nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.stopped_runs import spec_of
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.outcome import StudyState, TrialState
from tuning.run_folder.files import LOCK_FILE
from tuning.run_folder.run_lock import run_lock
from tuning.testing.simulated_ray import simulated_ray

HOLD = """
import sys, time
from pathlib import Path
from tuning.run_folder.run_lock import run_lock
with run_lock(Path(sys.argv[1]), "mine"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.system
def test_a_second_driver_is_told_who_holds_the_folder_until_that_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    told = rf"name: mine: {folder} is in use by process {first.pid} of .+ on {socket.gethostname()}, since 20.+ UTC\. "
    with pytest.raises(RunFolderError, match=told), run_lock(folder, "mine"):
        pass
    first.kill()
    first.wait()
    with run_lock(folder, "mine"):
        assert (folder / LOCK_FILE).is_file()


@pytest.mark.unit
def test_a_folder_that_stays_empty_is_not_left_behind_and_another_is(tmp_path: Path) -> None:
    with run_lock(tmp_path / "empty", "mine"):
        pass
    with run_lock(tmp_path / "used", "mine"):
        (tmp_path / "used" / "spec.yaml").write_text("name: mine")
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


@pytest.mark.tune
def test_an_experiment_that_runs_cannot_be_run_or_resumed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(spec_of("runs", "grid", 10.0, name="slow")))
    told: list[tuple[int, str]] = []

    def both() -> None:
        for command in (["resume", "slow"], ["run", "slow.yaml"]):
            told.append((main(command), capsys.readouterr().err))

    with simulated_ray() as ray:
        ray.at(50.0, both)
        (study,) = run_experiment(load_spec(tmp_path / "slow.yaml"), progress=False).studies
    assert [status for status, _ in told] == [2, 2]
    assert all(f"is in use by process {os.getpid()} of" in line for _, line in told), told
    assert study.state is StudyState.FINISHED
    assert study.count(TrialState.FAILED) == 0
