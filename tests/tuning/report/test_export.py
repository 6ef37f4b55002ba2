"""Tests `tunefleet export`: tables hold all records, as Parquet and CSV, and replace files only with --force."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.support.outcomes import make_report, population, scored, study, trial
from trainables.errors import InputError
from tuning.outcome import Confirmation, ExperimentOutcome, Stretch, TrialOutcome, TrialState
from tuning.outcome.tables import export, outcome_tables

pytestmark = pytest.mark.unit


def outcome() -> ExperimentOutcome:
    failed = trial(1, [], TrialState.FAILED, error="ValueError: no, really")
    grid = study("grid", [trial(0, [make_report(1, 0.7), make_report(2, 0.75)]), failed], test=scored("t0", 2, 0.74))
    again = Confirmation(
        1, "t1", 3.0, (Stretch(0.0, 3.0, {"learning_rate": 0.4}),), 0.8, 1000, 12.0, 5.0, {"accuracy": 0.77}
    )
    pbt = dataclasses.replace(study("pbt", list(population())), confirmations=(again,))
    return ExperimentOutcome("movies", "abc", (grid, pbt))


def test_parquet_has_a_row_per_trial_per_report_and_per_confirmation(tmp_path: Path) -> None:
    written = export(outcome(), tmp_path / "out", "parquet")
    assert [path.name for path in written] == [
        "studies.parquet",
        "trials.parquet",
        "reports.parquet",
        "confirmations.parquet",
    ]
    trials = pq.read_table(tmp_path / "out/trials.parquet").to_pylist()
    assert [(row["strategy"], row["trial"], row["state"], row["reports"]) for row in trials] == [
        ("grid", "t0", "completed", 2),
        ("grid", "t1", "failed", 0),
        ("pbt", "t0", "completed", 3),
        ("pbt", "t1", "completed", 4),
    ]
    assert trials[1]["error"] == "ValueError: no, really"
    reports = pq.read_table(tmp_path / "out/reports.parquet").to_pylist()
    last = reports[-1]
    assert len(reports) == 9
    assert (last["epoch"], last["metrics/accuracy"], last["params/learning_rate"]) == (3.0, 0.8, 0.4)
    assert last["device_seconds"] == 1.0
    (again,) = pq.read_table(tmp_path / "out/confirmations.parquet").to_pylist()
    assert (again["training_seed"], again["validation/accuracy"], again["searched"]) == (1000, 0.77, 0.8)
    studies = pq.read_table(tmp_path / "out/studies.parquet").to_pylist()
    assert [row["test/accuracy"] for row in studies] == [0.74, None]


def test_csv_holds_the_same_rows(tmp_path: Path) -> None:
    export(outcome(), tmp_path, "csv")
    assert pyarrow.csv.read_csv(tmp_path / "reports.csv").num_rows == 9
    trials = pyarrow.csv.read_csv(tmp_path / "trials.csv").to_pylist()
    assert trials[1]["error"] == "ValueError: no, really"
    assert [row["epochs_trained"] for row in trials] == [2.0, 0.0, 3.0, 4.0]


def test_what_is_there_is_not_written_over_unless_asked(tmp_path: Path) -> None:
    export(outcome(), tmp_path, "csv")
    (tmp_path / "trials.csv").write_text("mine")
    with pytest.raises(InputError, match=r"trials\.csv.* already.*--force"):
        export(outcome(), tmp_path, "csv")
    assert (tmp_path / "trials.csv").read_text() == "mine"
    export(outcome(), tmp_path, "csv", force=True)
    assert (tmp_path / "trials.csv").read_text() != "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export(outcome(), tmp_path / "file" / "below", "csv")


def test_values_of_several_types_stay_apart_and_whole_numbers_stay_numbers(tmp_path: Path) -> None:
    mixed = [
        TrialOutcome(f"t{i}", i, TrialState.COMPLETED, {"optim": value, "batch": batch})
        for i, (value, batch) in enumerate((("adamw", 16), (3, 8.5), (True, 4)))
    ]
    export(ExperimentOutcome("e", "d", (study("grid", mixed),)), tmp_path, "parquet")
    rows = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert [row["params/optim"] for row in rows] == ['"adamw"', "3", "true"]
    assert [row["params/batch"] for row in rows] == [16.0, 8.5, 4.0]


def test_an_experiment_without_a_trial_has_a_row_per_study() -> None:
    tables = outcome_tables(ExperimentOutcome("e", "d", (study("grid", []),)))
    assert {name: len(rows) for name, rows in tables.items()} == {
        "studies": 1,
        "trials": 0,
        "reports": 0,
        "confirmations": 0,
        "front": 0,
    }
