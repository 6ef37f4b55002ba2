"""The program of a job on a head, over simulated Ray: its exit status, its last message, and how it resumes."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.specs import GRID, curve_fields, user_trainer_fields
from tuning.cli.job import run_job
from tuning.comparison.verdict_levels import verdict_number
from tuning.outcome import ExperimentOutcome
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec, Extension
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

    def bring(self, limit: float = 1.0, storage: str = "~/runs", **changed: Any) -> None:
        """Writes the job's files; trials at rates above `limit` fail, of the rates 1e-5, 3e-4 and 1e-2."""
        (self.folder / "curve_of_mine.py").write_text(MINE.format(limit=limit))
        spec = curve_fields(
            storage, name="sent", trainable="curve_of_mine:Mine", fixed={"model.seconds_per_epoch": 60.0},
            cluster={"address": "auto"}, **{"strategies": [GRID], "test": False, **changed},
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
        return [trial.reports[-1].epoch for study in self.outcome().studies for trial in study.trials]

    def spec(self) -> ExperimentSpec:
        """Returns the spec in the run folder."""
        return load_spec(self.home / "runs/sent/spec.yaml")


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


def reports_of(outcome: ExperimentOutcome) -> Counter[tuple[str, float]]:
    """Counts the reports by trial and epoch."""
    trials = [trial for study in outcome.studies for trial in study.trials]
    return Counter((trial.id, report.epoch) for trial in trials for report in trial.reports)


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
    before = reports_of(head.outcome())
    assert before
    assert head.run("resume") == 0
    assert head.epochs() == [4, 4, 4]
    after = reports_of(head.outcome())
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


def test_an_extension_adds_what_is_new_once_and_counts_the_verdict_that_was_seen(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    head.bring(test=True)
    assert head.run("run") == 0
    before = head.outcome().studies
    head.bring(test=True, seeds=[0, 1])
    assert head.run("run") == head.run("resume") == 2
    assert capsys.readouterr().err.count("with --extend it adds seeds or strategies to it") == 2
    assert head.run("extend", meanwhile=stop_after(200.0)) == 130
    assert "go on with the same `tunefleet submit` and --resume" in capsys.readouterr().err
    stopped = reports_of(head.outcome())
    assert len(stopped) > sum(len(trial.reports) for trial in before[0].trials)
    assert head.run("extend", "--resume") == 0
    assert verdict_number(head.outcome().studies) == (2, 1)
    assert (head.outcome().studies[:1], head.epochs()) == (before, [4] * 6)
    assert (stopped <= reports_of(head.outcome()), {*reports_of(head.outcome()).values()}) == (True, {1})
    assert (head.spec().seeds, head.spec().extended) == ((0, 1), (Extension(seeds=1, strategies=1, judged=True),))
    assert head.run("extend") == 2
    assert "nothing is added" in capsys.readouterr().err
    head.bring(test=True)
    assert head.run("extend", "--resume") == 0  # the first spec asks for less than is there
    assert head.spec().seeds == (0, 1)


def test_an_extension_of_what_is_not_there_is_refused_with_how_it_begins(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    assert head.run("extend") == 2
    told = capsys.readouterr().err
    assert "'sent': no experiment of that name" in told
    assert "`tunefleet submit` begins an experiment" in told


def test_a_storage_that_the_cluster_s_account_cannot_write_is_reported_by_name(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    (head.folder / "uploaded" / "0123").mkdir(parents=True)
    (head.folder / "uploaded" / "0123" / "rows.csv").write_text("text,label\n")
    (head.home / "taken").touch()
    head.bring(storage="~/taken/runs")
    assert head.run("run") == 2
    assert "cluster.storage" in capsys.readouterr().err
