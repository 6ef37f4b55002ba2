"""Two drivers on one experiment: the second is told who holds it; one that was killed holds nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import main
from tuning.run.folder import LOCK_FILE, RunFolderError
from tuning.run.only_driver import only_driver

HOLD = """
import sys, time
from pathlib import Path
from tuning.run.only_driver import only_driver
with only_driver(Path(sys.argv[1]), "mine"):
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
    with pytest.raises(RunFolderError, match=told), only_driver(folder, "mine"):
        pass
    first.kill()
    first.wait()
    with only_driver(folder, "mine"):
        assert (folder / LOCK_FILE).is_file()


@pytest.mark.unit
def test_a_folder_that_stays_empty_is_not_left_behind_and_another_is(tmp_path: Path) -> None:
    with only_driver(tmp_path / "empty", "mine"):
        pass
    with only_driver(tmp_path / "used", "mine"):
        (tmp_path / "used" / "spec.yaml").write_text("name: mine")
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


@pytest.mark.system
def test_an_experiment_that_runs_cannot_be_resumed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.yaml").write_text(
        "{name: slow, task: reviews, trainable: learning_curve, epochs: 50, test: false, wandb: {mode: disabled},"
        " fixed: {model.seconds_per_epoch: 1}, space: {learning_rate: {loguniform: [1e-5, 1e-2]}},"
        " strategies: [{kind: grid, points: 2}], cluster: {gpus_per_trial: 0}}"
    )
    first = subprocess.Popen(
        [sys.executable, "-m", "tuning.cli", "run", "slow.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert first.stdout is not None
        next(line for line in first.stdout if " epoch " in line)
        assert main(["resume", "slow"]) == 2
        assert f"is in use by process {first.pid} of" in capsys.readouterr().err
        assert main(["run", "slow.yaml"]) == 2
        assert f"is in use by process {first.pid} of" in capsys.readouterr().err
        assert first.poll() is None
    finally:
        os.kill(first.pid, signal.SIGINT)
        first.communicate(timeout=120)
    assert first.returncode == 130
