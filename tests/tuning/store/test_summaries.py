"""Tests that the summaries for `tunefleet ls` agree with the loaded outcomes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.outcomes import make_report
from tests.support.stores import begin_trial, make_exploit, open_study
from tuning.outcome import StudyState, TrialState
from tuning.spec.store_url import sqlite_file
from tuning.store.study_store import StoreError, StudyStore, StudyWriter, sqlite_url
from tuning.store.summaries import StudySummary, study_summaries

pytestmark = pytest.mark.unit


def loaded(store: StudyStore) -> list[StudySummary]:
    return [StudySummary.of(name, study) for name in store.experiments() for study in store.load(name).studies]


def test_a_study_with_every_turn_is_reported_as_it_is_loaded(store: StudyStore, store_url: str) -> None:
    writer = open_study(store)
    for trial in ("good", "rewound", "clone", "failed", "reopened", "replaced", "silent"):
        begin_trial(writer, trial)
    for epoch, score in enumerate((0.5, 0.7, 0.6), 1):
        writer.add_report("good", make_report(epoch, score, time=100.0 + epoch))
    for epoch, score in enumerate((0.1, 0.9, 0.95), 1):  # the last two are left over from before a crash
        writer.add_report("rewound", make_report(epoch, score, time=200.0 + epoch))
    writer = open_study(store)
    writer.rewind("rewound", 1)
    writer.add_report("rewound", make_report(1.5, 0.2, time=150.0))
    writer.add_report("clone", make_report(1, 0.3))
    writer.add_exploit("clone", make_exploit(2, "good"))
    writer.add_report("clone", make_report(3, 0.4))
    writer.end_trial("failed", TrialState.FAILED, "ValueError: no")
    writer.add_report("reopened", make_report(1, 0.2))
    writer.end_trial("reopened", TrialState.FAILED, "RuntimeError: lost")
    writer.reopen_failed("reopened")
    writer.begin_trial("replaced", {"lr": 0.9}, {}, again=True)
    found = study_summaries(store_url)
    assert found == loaded(store)
    (study,) = found
    assert (study.state, study.trials, study.failed) == (StudyState.RUNNING, 8, 2)
    assert (study.best, study.last_report) == (0.7, 201.0)


def test_all_studies_of_all_experiments_are_reported_in_order(store: StudyStore, store_url: str) -> None:
    for name in ("second", "first"):
        for seed in (0, 1):
            writer = open_study(store, experiment=name, seed=seed)
            begin_trial(writer, "a")
            writer.add_report("a", make_report(1, 0.5 + seed / 4))
            writer.end_trial("a", TrialState.COMPLETED)
            writer.finish()
    found = study_summaries(store_url)
    assert found == loaded(store)
    assert [(one.experiment, one.seed, one.best) for one in found] == [
        ("second", 0, 0.5),
        ("second", 1, 0.75),
        ("first", 0, 0.5),
        ("first", 1, 0.75),
    ]


def test_a_score_that_is_not_finite_and_a_study_without_trials_are_reported(
    store: StudyStore, writer: StudyWriter, store_url: str
) -> None:
    assert [(one.trials, one.best, one.last_report, one.all_failed) for one in study_summaries(store_url)] == [
        (0, None, None, False)
    ]
    begin_trial(writer, "a")
    writer.add_report("a", make_report(1, float("-inf")))
    assert study_summaries(store_url)[0].best == float("-inf")


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.db: no such file"):
        study_summaries(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE study_user_attributes SET value_json = '{' WHERE key = 'tunefleet'", "Restore a good copy"),
        ("UPDATE study_user_attributes SET value_json = replace(value_json, 'reviews', 'r') WHERE key = 'tunefleet'",
         "checksum differs"),
        ("UPDATE study_user_attributes SET value_json = replace(value_json, '\"layout\": 2', '\"layout\": 3')",
         "written by a newer tunefleet"),
        ("DROP TABLE trials", "holds no studies"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_be_read_is_reported(
    writer: StudyWriter, store_url: str, damage: str, message: str
) -> None:
    file = sqlite_file(store_url)
    assert file is not None
    with sqlite3.connect(file) as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(StoreError, match=message):
        study_summaries(file)


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("hello " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        study_summaries(sqlite_url(tmp_path / "study.db"))
