"""The quick part of `python -m benchmarks.faults`: a population that is killed once, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import command_of, find_points, table
from benchmarks.faults.checker import complaints, repeated
from benchmarks.faults.experiments import PLANNED, experiment
from benchmarks.faults.happenings import damaged_snapshot
from benchmarks.faults.kills import after_reports, run_through
from benchmarks.faults.row import Row
from tests.support.power_cuts import in_virtual_time
from tuning import load_spec


@pytest.mark.system
@pytest.mark.parametrize("trainer", [pytest.param(False, id="curve"), pytest.param(True, id="a user's Trainer")])
def test_a_population_whose_newest_snapshot_is_damaged_as_its_driver_is_killed_is_the_undisturbed_one(
    tmp_path: Path, trainer: bool
) -> None:
    run = run_through(tmp_path, "pbt", [after_reports(6, 0.1, damaged_snapshot)], seconds=0.2, trainer=trainer)
    whole = tmp_path / "whole"
    whole.mkdir()
    (undisturbed,) = in_virtual_time(load_spec(experiment(whole, "pbt", seconds=0.1, trainer=trainer))).studies
    assert len(run.lives) == 2
    assert complaints(run.lives, PLANNED["pbt"], undisturbed, formula=not trainer) == []
    assert repeated(run.lives) <= 1
    assert any(trial.lineage for trial in undisturbed.trials)


@pytest.mark.unit
def test_every_point_has_a_number_of_its_own_and_says_how_it_is_measured() -> None:
    points = find_points()
    numbers = [point.NUMBER for point in points.values()]
    assert {"driver", "decisions", "head", "damage", "hang", "soak", "own_trainer"} == points.keys()
    assert len({*numbers}) == len(numbers)
    assert all(callable(point.measure) for point in points.values())


@pytest.mark.unit
def test_the_table_has_a_row_per_point_in_order_and_marks_what_has_not_passed() -> None:
    rows = {
        "head": {"number": 3, **Row("head lost", "killed | twice", "fine", "lost", True, {})._asdict()},
        "driver": {"number": 1, **Row("driver killed", "killed", "2 complaints", "never ends", False, {})._asdict()},
    }
    assert table(json.loads(json.dumps(rows))).splitlines()[2:] == [
        "| 1 driver killed | killed | **not passed:** 2 complaints | never ends |",
        "| 3 head lost | killed \\| twice | fine | lost |",
    ]


@pytest.mark.unit
def test_the_command_that_is_recorded_names_no_folder_of_this_machine() -> None:
    assert command_of(["damage", "--out", "/a/b", "--cases", "3"]) == "python -m benchmarks.faults damage --cases 3"
    assert command_of(["all", "--out=/a/b"]) == "python -m benchmarks.faults all"
