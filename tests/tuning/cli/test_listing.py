"""`tunefleet ls`: which experiments there are, the status of each, and how long ago it reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded_runs import record, run_left
from tests.support.specs import curve_experiment
from tuning.cli import main
from tuning.report.listing import age
from tuning.report.status import has_driver
from tuning.run_folder.folder import claim_run_folder
from tuning.run_folder.run_lock import run_lock
from tuning.store.study_store import sqlite_url

pytestmark = pytest.mark.unit

GRID = [{"kind": "grid", "points": 2}]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[str]]:
    """The words of each line after the first, by the name of its experiment."""
    assert main(["ls", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[1:]}


def test_an_experiment_is_running_interrupted_failed_or_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = run_left(tmp_path, name="running", strategies=GRID, scores=(0.5,))
    run_left(tmp_path, name="interrupted", strategies=GRID, scores=(0.5, 0.75))
    run_left(tmp_path, name="failed", strategies=GRID)
    run_left(tmp_path, name="finished", strategies=GRID, scores=(0.5,), finished=True)
    run_left(tmp_path, name="half", strategies=GRID, seeds=[0, 1], scores=(0.5,), finished=True)
    claim_run_folder(curve_experiment(tmp_path, name="begun", strategies=GRID), resume=False)
    with run_lock(running.run_folder, "running"):
        found = listed(capsys, "experiments", "--storage", str(tmp_path))
        studies = listed(capsys, "studies", "--storage", str(tmp_path))
    assert {name: words[0] for name, words in found.items()} == {
        "running": "running",
        "interrupted": "interrupted",
        "failed": "failed",
        "finished": "finished",
        "half": "interrupted",
        "begun": "interrupted",
    }
    assert found["interrupted"][1:7] == ["0", "of", "1", "1", "accuracy", "0.7500"]
    assert found["half"][1:4] == ["1", "of", "2"]
    assert {name: words[2] for name, words in studies.items()} == {
        "running": "running",
        "interrupted": "interrupted",
        "failed": "failed",
        "finished": "finished",
        "half": "finished",
    }


def test_all_is_listed_by_default_and_no_experiment_is_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ls", "--storage", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "experiments:\n  none yet; start one with `tunefleet run quickstart`\nstrategies:\n  custom "
    )
    run_left(tmp_path, strategies=GRID, scores=(0.5,), finished=True)
    assert main(["ls", "--storage", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "experiments:"
    assert lines[1].split() == ["EXPERIMENT", "STATE", "STUDIES", "TRIALS", "BEST", "LAST", "SIGN"]
    assert lines[2].split()[:4] == ["whole", "finished", "1", "of"]


def test_of_a_store_alone_nobody_can_tell_whether_a_driver_is_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = sqlite_url(tmp_path / "team.db")
    record(curve_experiment(tmp_path, strategies=GRID, store=shared), (0.5,))
    assert listed(capsys, "experiments", "--store", shared)["whole"][0] == "unfinished"


def test_an_experiment_whose_spec_or_store_cannot_be_read_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, damaged in (("one", "spec.yaml"), ("two", "study.db"), ("well", "")):
        spec = run_left(tmp_path, name=name, strategies=GRID, scores=(0.5,), finished=True)
        if damaged:
            (spec.run_folder / damaged).write_bytes(b"\xff{" * 1000)
    assert main(["ls", "experiments", "--storage", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert [line.split()[:2] for line in shown.out.splitlines()[1:]] == [
        ["one", "interrupted"],
        ["two", "interrupted"],
        ["well", "finished"],
    ]
    assert [line.split(":")[1].strip() for line in shown.err.splitlines() if line.startswith("tunefleet: ")] == [
        "one",
        "two",
    ]


def test_results_say_where_a_study_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = run_left(tmp_path, strategies=GRID, scores=(0.5,))
    assert main(["results", str(spec.run_folder)]) == 0
    shown = capsys.readouterr().out
    assert "grid, seed 0: interrupted;" in shown
    assert " 0 (grid-0) running" in shown
    with run_lock(spec.run_folder, spec.name):
        assert main(["results", str(spec.run_folder)]) == 0
    assert "grid, seed 0: running;" in capsys.readouterr().out


def test_looking_for_a_driver_leaves_no_trace(tmp_path: Path) -> None:
    assert not has_driver(tmp_path / "nothing")
    with run_lock(tmp_path / "mine", "mine"):
        assert has_driver(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "driver.lock").write_text('{"process": 1}')
    assert not has_driver(tmp_path / "killed")
    with run_lock(tmp_path / "killed", "killed"):
        pass


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (119, "119 s"), (130, "2 min"), (7300, "2 h"), (86400 * 3, "3 days")]
)
def test_an_age_is_reported_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert age(seconds) == shown
