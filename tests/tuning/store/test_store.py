"""Tests the study store in a file: paths, files of other kinds, invalid URLs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.outcomes import make_report
from tests.support.stores import SECRET, begin_trial, open_study
from tuning.outcome import TrialState
from tuning.spec.store_url import masked
from tuning.store.database import open_database
from tuning.store.study_store import StoreError, StudyStore, StudyWriter, sqlite_url

pytestmark = pytest.mark.unit


def test_reading_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        StudyStore(sqlite_url(tmp_path / "none.db")).experiments()
    assert list(tmp_path.iterdir()) == []


def test_odd_characters_in_the_path_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a b{c}%41#?é" / "study.db"
    open_study(StudyStore(sqlite_url(path)))
    assert path.is_file()


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = StudyStore("sqlite:///study.db")
    writer = open_study(store)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    begin_trial(writer, "a")
    assert len(store.load("reviews").studies[0].trials) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make its folder: .*; choose another path"):
        open_study(StudyStore(sqlite_url(tmp_path / "file" / "study.db")))


def test_a_folder_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        open_study(StudyStore(sqlite_url(tmp_path)))


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("hello " * 1000)
    with pytest.raises(StoreError, match=r"study\.db: file is not a database$"):
        StudyStore(sqlite_url(tmp_path / "study.db")).experiments()


def test_another_programs_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table customers (name text)")
    with pytest.raises(StoreError, match="holds no studies"):
        StudyStore(sqlite_url(tmp_path / "other.db")).experiments()
    with sqlite3.connect(tmp_path / "other.db") as other:
        assert other.execute("select name from sqlite_master").fetchall() == [("customers",)]


def test_a_schema_of_another_version_is_reported_with_the_way_out(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "new" / "folder" / "study.db") as database:
        database.execute("update alembic_version set version_num = 'v3.0.0.d'")
    with pytest.raises(StoreError, match=r"no longer compatible.*optuna storage upgrade"):
        StudyStore(sqlite_url(tmp_path / "new" / "folder" / "study.db")).experiments()


def test_a_database_that_breaks_during_a_run_is_reported_with_what_to_do(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    begin_trial(writer, "a")
    (tmp_path / "new" / "folder" / "study.db").write_bytes(b"x" * 100_000)
    with pytest.raises(StoreError, match=r"cannot record report of trial a at epoch 2 .*tunefleet resume"):
        writer.add_report("a", make_report(2, 0.6))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("runs/study.db", "is not a URL"),
        ("mysql://localhost/x", "'mysql' is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        (f"postgresql://me:{SECRET}@host:port/x", "is not a URL"),
        (f"postgresql+asyncpg://me:{SECRET}@host/x", "the driver here is psycopg; begin the URL with postgresql://"),
    ],
)
def test_a_url_that_cannot_be_a_store_is_reported_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(StoreError, match=problem) as error:
        StudyStore(url).experiments()
    assert SECRET not in str(error.value)


def test_a_server_that_cannot_be_reached_is_reported_without_the_password() -> None:
    store = StudyStore(f"postgresql://me:{SECRET}@127.0.0.1:1/x")
    with pytest.raises(StoreError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x.*refused; is the server up") as error:
        store.experiments()
    assert SECRET not in str(error.value)
    assert SECRET not in store.shown
    assert SECRET not in masked(f"postgresql://localhost/x?password={SECRET}")
    assert masked(f"nonsense://me:{SECRET}@x:y") == "nonsense://***@x:y"


def test_optuna_numbers_the_trials_of_a_study_from_0_copies_and_those_of_later_runs_included(
    store: StudyStore, writer: StudyWriter, store_url: str
) -> None:
    import optuna

    other = open_study(store, seed=4)
    for trial in "ab":
        begin_trial(writer, trial)
        begin_trial(other, trial)
    writer.end_trial("a", TrialState.FAILED, "it broke")
    writer.reopen_failed("a")  # as a copy
    begin_trial(writer, "c")
    resumed = open_study(store)
    begin_trial(resumed, "b", 0.5, again=True)  # with another value, so the first one stays as a copy
    begin_trial(resumed, "d")
    study = optuna.load_study(study_name=writer.name, storage=open_database(store_url, create=False))
    assert [trial.number for trial in study.trials] == list(range(7))
    for trial in study.trials:
        assert trial.datetime_start is not None
        assert trial.state.name == "RUNNING" or trial.datetime_complete >= trial.datetime_start
