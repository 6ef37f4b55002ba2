"""What a job runs on a head, over simulated Ray: its exit status, its last words, and how it goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.specs import GRID, curve_fields, user_trainer_fields
from tuning.cli.job import run_job
from tuning.outcome import ExperimentOutcome
from tuning.store.study_store import StudyStore, sqlite_url
from tuning.testing.simulated_ray import SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

MINE = """
from trainables.learning_curve import LearningCurve


class Mine(LearningCurve):
    def advance(self, epochs):
        if self.rate > {limit}:
            raise ValueError("it diverges")
        return super().advance(epochs)
"""


class Head:
    """The working directory of a job, with its unpacked archive, and the account that runs it."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.bring()

    def bring(self, limit: float = 1.0, storage: str = "~/runs") -> None:
        """Writes the job's files; trials at rates above `limit` fail, of the rates 1e-5, 3e-4 and 1e-2."""
        (self.folder / "curve_of_mine.py").write_text(MINE.format(limit=limit))
        spec = curve_fields(
            storage, name="sent", trainable="curve_of_mine:Mine", strategies=[GRID], test=False,
            fixed={"model.seconds_per_epoch": 60.0}, cluster={"address": "auto"},
        )  # fmt: skip
        (self.folder / "experiment.yaml").write_text(yaml.safe_dump(spec))

    def run(self, *words: str, meanwhile: Callable[[SimulatedRay], None] | None = None) -> int:
        """Runs the job with these arguments; returns its exit status."""
        os.chdir(self.folder)
        with simulated_ray() as ray:
            if meanwhile is not None:
                meanwhile(ray)
            return run_job(words)

    def outcome(self) -> ExperimentOutcome:
        """Returns the experiment that is recorded below the account's home."""
        return StudyStore(sqlite_url(self.home / "runs/sent/study.db")).load("sent")

    def epochs(self) -> list[float]:
        """Returns the last epoch of each trial."""
        return [trial.reports[-1].epoch for trial in self.outcome().studies[0].trials]


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    for name in ("job", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.syspath_prepend(tmp_path / "job")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    yield Head(tmp_path / "job", tmp_path / "home")
    sys.modules.pop("curve_of_mine", None)


def stop_after(seconds: float) -> Callable[[SimulatedRay], None]:
    """Stops a job as Ray's supervisor does."""
    return lambda ray: ray.at(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))


def test_a_run_records_below_the_home_of_the_cluster_s_account(head: Head, capsys: pytest.CaptureFixture[str]) -> None:
    assert head.run("run") == 0
    assert "3/0/0" in capsys.readouterr().out
    assert head.epochs() == [4, 4, 4]
    assert {path.name for path in head.folder.iterdir()} <= {"curve_of_mine.py", "experiment.yaml", "__pycache__"}


def test_a_run_of_a_trainer_of_ones_own_finds_its_module_beside_the_spec(head: Head) -> None:
    (head.folder / "curve_of_mine.py").write_text("from tests.support.user_trainers import make_trainer\n")
    spec = user_trainer_fields(
        "~/runs", name="sent", trainable="curve_of_mine:make_trainer", epochs=1, test=False,
        strategies=[{"kind": "grid", "points": 1}], cluster={"address": "auto"},
    )  # fmt: skip
    (head.folder / "experiment.yaml").write_text(yaml.safe_dump(spec))
    assert head.run("run") == 0
    assert head.epochs() == [1, 1]


def test_a_run_some_of_whose_trials_failed_is_a_success_with_a_caveat(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    head.bring(limit=1e-3)
    assert head.run("run") == 0
    assert "1 of 3 trials failed" in capsys.readouterr().out


def test_a_run_whose_trials_all_failed_has_failed(head: Head, capsys: pytest.CaptureFixture[str]) -> None:
    head.bring(limit=0.0)
    assert head.run("run") == 1
    told = capsys.readouterr().err
    assert "it diverges" in told
    assert "Traceback" not in told


def test_a_run_that_is_told_to_stop_says_how_to_go_on_and_then_repeats_no_epoch(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    assert head.run("run", meanwhile=stop_after(200.0)) == 130
    told = capsys.readouterr().err
    assert "stopped with 0 of 3 trials ended; everything is kept" in told
    assert "go on with the same `tunefleet submit` and --resume" in told
    before = Counter((trial.id, report.epoch) for trial in head.outcome().studies[0].trials for report in trial.reports)
    assert before
    assert head.run("resume") == 0
    assert head.epochs() == [4, 4, 4]
    after = Counter((trial.id, report.epoch) for trial in head.outcome().studies[0].trials for report in trial.reports)
    assert before <= after
    assert set(after.values()) == {1}


def test_a_run_with_other_code_goes_on_only_by_force(head: Head, capsys: pytest.CaptureFixture[str]) -> None:
    assert head.run("run", meanwhile=stop_after(200.0)) == 130
    with (head.folder / "curve_of_mine.py").open("a") as code:
        code.write("# in another way\n")
    capsys.readouterr()
    assert head.run("resume") == 2
    assert "--force" in capsys.readouterr().err
    assert head.run("resume", "--force") == 0
    assert head.epochs() == [4, 4, 4]


def test_a_first_job_that_has_left_nothing_is_run_when_it_is_to_go_on(head: Head) -> None:
    assert head.run("resume") == 0
    assert head.epochs() == [4, 4, 4]


def test_a_storage_that_the_cluster_s_account_cannot_write_is_told_by_name(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    (head.folder / "uploaded" / "0123").mkdir(parents=True)
    (head.folder / "uploaded" / "0123" / "rows.csv").write_text("text,label\n")
    (head.home / "taken").touch()
    head.bring(storage="~/taken/runs")
    assert head.run("run") == 2
    assert "cluster.storage" in capsys.readouterr().err
