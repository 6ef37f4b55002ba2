"""The study store: what goes in comes out, once, whatever is told twice. On a real SQLite file; what its statements and
transactions promise, on a real PostgreSQL server as well (`on_both`)."""

from __future__ import annotations

import json
import math
import pickle
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.support.outcomes import report
from tests.support.stores import (
    SECRET,
    SPACE,
    begin,
    epochs,
    exploit,
    on_both,
    open_study,
)
from tuning.outcome import (
    Confirmation,
    Exploit,
    FinalModel,
    ScoredRows,
    Stretch,
    StudyState,
    TestScore,
    TrialState,
)
from tuning.store.database import connect
from tuning.store.study_store import StoreError, StudyStore, StudyWriter, sqlite_url
from tuning.store.url import masked


@on_both
def test_everything_that_goes_in_comes_out(store: StudyStore, writer: StudyWriter, tmp_path: Path) -> None:
    for trial in "abcd":
        begin(writer, trial)
    first, second = report(1, 0.5), report(2, 0.25)
    for trial in "abc":
        writer.add_report(trial, first)
    writer.add_exploit("a", exploit(1.0))
    writer.add_report("a", second)
    writer.add_checkpoint("a", 2.0, str(tmp_path))
    writer.end_trial("a", TrialState.COMPLETED)
    writer.end_trial("b", TrialState.STOPPED)
    writer.end_trial("c", TrialState.FAILED, "ValueError: no")
    test = TestScore("a", 1.0, {"learning_rate": 0.1}, {"accuracy": 0.4}, 100, "/c", 7.0)
    writer.set_test(test)
    writer.held_for(12.5)
    writer.finish()

    outcome = store.load("reviews")
    (study,) = outcome.studies
    a, b, c, d = study.trials
    assert (outcome.name, outcome.digest) == ("reviews", "d1")
    assert (study.strategy, study.kind, study.seed, study.metric, study.mode) == ("pbt", "pbt", 3, "accuracy", "max")
    assert (study.state, study.slots, study.devices_per_trial, study.device) == (StudyState.FINISHED, 2, 0.5, "GPU")
    assert (study.wall_seconds, study.device_seconds, study.test) == (12.5, 12.5, test)
    assert study.attributes == {"torch": "2.13"}
    assert a.params == {"learning_rate": 0.1, "optim": "sgd"}
    assert a.reports == (first, second)
    assert a.lineage == (Exploit(1.0, "b", {"learning_rate": 0.1}, {"learning_rate": 0.4}, 5.0, 1, 1),)
    assert a.checkpoints == {2.0: str(tmp_path)}
    assert [t.state.value for t in study.trials] == ["completed", "stopped", "failed", "running"]
    assert [t.number for t in study.trials] == [0, 1, 2, 3]
    assert (b.error, c.error, d.reports) == (None, "ValueError: no", ())


def confirmation(seed: int, **changed: Any) -> Confirmation:
    schedule = (Stretch(0.0, 1.0, {"learning_rate": 0.1}), Stretch(1.0, 2.0, {"learning_rate": 0.4}))
    told: dict[str, Any] = {"validation": {"accuracy": 0.5, "f1": float("nan")}, **changed}
    return Confirmation(2, "a", 2.0, schedule, 0.625, seed, 12.5, 7.0, **told)


@on_both
def test_confirmations_come_out_in_order_with_every_row_of_25_000(store: StudyStore, writer: StudyWriter) -> None:
    classes = ScoredRows(tuple(float(i % 3) for i in range(25_000)), tuple(float(i % 2) for i in range(25_000)))
    values = ScoredRows((0.1, -1e300, 3.0), (1 / 3, 2.0**60, -0.5))
    signed = ScoredRows((-1.0, 300.0), (70_000.0, 0.0))
    winner = {"test": {"accuracy": 0.25}, "tested_at": 9.0}
    for seed, changed in ((1002, {"rows": values}), (1000, {}), (1003, {"rows": signed}), (1001, {"rows": classes})):
        writer.set_confirmations(confirmation(seed))
        writer.set_confirmations(confirmation(seed, **changed, **winner))
    failed = replace(confirmation(1000, validation=None, error="ValueError: no"), rank=1)
    writer.set_confirmations(failed)
    writer.set_test(TestScore("a", 1.0, {}, {"accuracy": 0.4}, 3, "/c", 7.0, classes))
    (study,) = store.load("reviews").studies
    first, *others = study.confirmations
    assert first == failed
    assert [c.seed for c in others] == [1000, 1001, 1002, 1003]
    assert [c.rows for c in others] == [None, classes, values, signed]
    assert others[0].schedule == confirmation(1000).schedule
    assert [c.test for c in others] == [{"accuracy": 0.25}] * 4
    assert others[0].tested_at == 9.0
    assert others[0].validation is not None
    assert math.isnan(others[0].validation["f1"])
    assert study.test is not None
    assert study.test.scored == classes
    stored = store._open().get_study_user_attrs(1)["confirmation:0002:1001"]
    assert len(json.dumps(stored)) < 5_000
    plain = json.loads(json.dumps(store.load("reviews").to_json(), allow_nan=False))["studies"][0]
    assert [c["rows"] for c in plain["confirmations"]] == [None, None, 25_000, 3, 2]
    assert "scored" not in plain["test"]


@on_both
def test_every_final_model_is_remembered(store: StudyStore, writer: StudyWriter) -> None:
    models = [FinalModel("/m", "a", 2.0, seed, {"accuracy": 0.5, "f1": math.inf}, 100, 1.5, 7.0) for seed in (0, 1)]
    for model in models:
        writer.add_final(model)
    assert store.load("reviews").studies[0].finals == tuple(models)


@on_both
def test_optuna_sees_the_states_values_and_distributions(writer: StudyWriter, store_url: str) -> None:
    for trial, state in (("a", TrialState.COMPLETED), ("b", TrialState.STOPPED), ("c", TrialState.FAILED)):
        begin(writer, trial)
        writer.add_report(trial, report(0.5, 0.75))
        writer.add_report(trial, report(1, 0.5))
        writer.end_trial(trial, state, "it broke" if state is TrialState.FAILED else None)
    study = optuna.load_study(study_name="reviews/pbt/seed-3", storage=connect(store_url, create=False))
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.trials[0].intermediate_values == {1: 0.75, 2: 0.5}
    assert [t.value for t in study.trials] == [0.75, 0.5, None]  # the best; where it was pruned; nothing
    assert study.trials[0].distributions == SPACE.to_optuna()
    assert study.best_trial.user_attrs["trial_id"] == "a"


DASHBOARD_STATES = {
    "Complete": TrialState.COMPLETED,
    "Pruned": TrialState.STOPPED,
    "Fail": TrialState.FAILED,
    "Running": TrialState.RUNNING,
}


@pytest.mark.system
def test_optuna_dashboard_shows_the_trials_that_we_load(store: StudyStore, writer: StudyWriter, tmp_path: Path) -> None:
    """One of each state, one with a metric that is no number, one that took over another's weights."""
    for rate, trial in zip((0.1, 0.2, 0.3, 0.4), "abcd", strict=True):
        begin(writer, trial, rate)
        writer.add_report(trial, report(1, 0.5 + rate)._replace(metrics={"accuracy": 0.5 + rate, "f1": float("nan")}))
    writer.add_exploit("d", exploit(1.0))
    writer.add_report("d", report(2, 0.95))
    for trial, state in (("a", TrialState.STOPPED), ("b", TrialState.COMPLETED), ("c", TrialState.FAILED)):
        writer.end_trial(trial, state, "it broke" if state is TrialState.FAILED else None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).parent / "optuna-dashboard"),
        sqlite_url(tmp_path / "new" / "folder" / "study.db"),
    ]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        (summary,) = fetch(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert summary["study_name"] == "reviews/pbt/seed-3"
        detail = fetch(f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}")
        shown = [
            (
                next(a["value"] for a in trial["user_attrs"] if a["key"] == "trial_id"),
                DASHBOARD_STATES[trial["state"]],
                {param["name"]: param["param_external_value"] for param in trial["params"]},
                [value["value"] for value in trial["intermediate_values"]],
            )
            for trial in detail["trials"]
        ]
        assert shown == [
            (
                trial.id,
                trial.state,
                {name: str(value) for name, value in trial.params.items()},
                [r.metrics["accuracy"] for r in trial.reports],
            )
            for trial in store.load("reviews").studies[0].trials
        ]
        assert len(shown) == 4
    finally:
        server.terminate()
        server.wait(timeout=20)


def fetch(url: str, patience: float = 60.0) -> Any:
    deadline = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.loads(answer.read(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.unit
def test_a_trial_told_twice_is_one(store: StudyStore, writer: StudyWriter) -> None:
    begin(writer, "a")
    begin(open_study(store), "a")
    assert len(store.load("reviews").studies[0].trials) == 1


@on_both
def test_epochs_computed_again_after_a_crash_replace_the_old_ones(store: StudyStore, writer: StudyWriter) -> None:
    begin(writer, "a")
    for epoch in (1, 2, 3):
        writer.add_report("a", report(epoch, 0.1))
    resumed = open_study(store)
    resumed.add_report("a", report(2, 0.7))  # from the checkpoint of epoch 1
    (trial,) = store.load("reviews").studies[0].trials
    assert [(r.epoch, r.metrics["accuracy"]) for r in trial.reports] == [(1, 0.1), (2, 0.7)]
    resumed.add_report("a", report(3, 0.8))
    resumed.add_report("a", report(4, 0.9))
    assert epochs(open_and_close(store)) == [1, 2, 3, 4]


def open_and_close(store: StudyStore) -> StudyStore:
    store.close()
    return store


@pytest.mark.unit
def test_a_second_crash_at_an_earlier_epoch_leaves_no_trace_of_both_futures(
    store: StudyStore, writer: StudyWriter
) -> None:
    begin(writer, "a")
    for epoch in (1, 2, 3, 4, 2, 3, 1, 2):
        writer.add_report("a", report(epoch, 0.1))
    assert epochs(store) == [1, 2]
    assert open_study(store).reports("a")[-1].epoch == 2


@pytest.mark.unit
def test_a_clone_that_goes_back_to_an_earlier_epoch_of_its_donor_keeps_its_own_past(
    store: StudyStore, writer: StudyWriter
) -> None:
    for trial in "ab":
        begin(writer, trial)
    writer.add_report("b", report(1, 0.9))
    for epoch in (1, 2, 3):
        writer.add_report("a", report(epoch, 0.1))
    writer.add_exploit("a", exploit(1.0))
    writer.add_report("a", report(2, 0.9))
    assert epochs(store) == [1, 2, 3, 2]


@on_both
def test_a_crash_from_before_an_exploit_takes_the_exploit_back(store: StudyStore, writer: StudyWriter) -> None:
    for trial in "ab":
        begin(writer, trial)
        writer.add_report(trial, report(1, 0.1))
        writer.add_report(trial, report(2, 0.1))
    snapshot = writer.positions()
    writer.add_exploit("a", exploit(2.0))
    writer.add_report("a", report(3, 0.9))
    resumed = open_study(store)
    resumed.rewind("a", snapshot["a"])
    assert epochs(store) == [1, 2, 3]  # nothing is lost before there is something to replace it
    resumed.add_report("a", report(3, 0.2))
    (trial, _) = store.load("reviews").studies[0].trials
    assert trial.lineage == ()
    assert trial.reports[-1].metrics["accuracy"] == 0.2


@pytest.mark.unit
def test_an_exploit_told_twice_is_one(store: StudyStore, writer: StudyWriter) -> None:
    for trial in "ab":
        begin(writer, trial)
        writer.add_report(trial, report(1, 0.1))
    writer.add_exploit("a", exploit(1.0))
    open_study(store).add_exploit("a", exploit(1.0))
    assert len(store.load("reviews").studies[0].trials[0].lineage) == 1


@pytest.mark.unit
def test_an_exploit_of_an_epoch_that_the_donor_never_reported_is_refused(writer: StudyWriter) -> None:
    for trial in "ab":
        begin(writer, trial)
    with pytest.raises(StoreError, match="took over epoch 5 of trial b, which has no report there"):
        writer.add_exploit("a", exploit(5.0))


@pytest.mark.unit
def test_the_last_epochs_of_a_completed_trial_told_again_change_nothing(store: StudyStore, writer: StudyWriter) -> None:
    begin(writer, "a")
    writer.add_report("a", report(1, 0.1))
    writer.add_report("a", report(2, 0.2))
    writer.end_trial("a", TrialState.COMPLETED)
    resumed = open_study(store)
    resumed.rewind("a", 1)
    resumed.add_report("a", report(2, 0.3))
    resumed.end_trial("a", TrialState.COMPLETED)
    (trial,) = store.load("reviews").studies[0].trials
    assert (trial.state, trial.reports[-1].metrics["accuracy"]) == (TrialState.COMPLETED, 0.2)


@on_both
def test_a_failed_trial_that_goes_on_is_one_trial_with_its_past(store: StudyStore, writer: StudyWriter) -> None:
    for trial in "ab":
        begin(writer, trial)
    writer.add_report("a", report(1, 0.1))
    writer.end_trial("a", TrialState.FAILED, "OSError: the node went away")
    writer.add_report("a", report(2, 0.2))
    assert store.load("reviews").studies[0].trials[0].state is TrialState.RUNNING
    writer.end_trial("a", TrialState.COMPLETED)
    a, b = store.load("reviews").studies[0].trials
    assert (a.id, a.number, a.state, a.error) == ("a", 0, TrialState.COMPLETED, None)
    assert [r.epoch for r in a.reports] == [1, 2]
    assert b.state is TrialState.RUNNING
    assert open_study(store).reports("a") == a.reports


@pytest.mark.unit
def test_no_trial_completes_without_a_report(writer: StudyWriter) -> None:
    begin(writer, "a")
    with pytest.raises(ValueError, match="cannot end as completed after 0 reports"):
        writer.end_trial("a", TrialState.COMPLETED)


@on_both
def test_a_trial_that_was_never_begun_is_refused(writer: StudyWriter) -> None:
    with pytest.raises(StoreError, match="trial x was never begun"):
        writer.add_report("x", report(1, 0.1))


@on_both
def test_values_outside_the_space_are_kept_and_stay_off_the_dashboards_axes(
    store: StudyStore, writer: StudyWriter
) -> None:
    params = {"learning_rate": 5.0, "optim": "adamw_torch", "weight_decay": 0.1}
    writer.begin_trial("a", params, SPACE.to_optuna())
    assert store.load("reviews").studies[0].trials[0].params == params


@pytest.mark.unit
def test_numpy_values_become_plain_ones(store: StudyStore, writer: StudyWriter) -> None:
    import numpy as np

    writer.begin_trial("a", {"learning_rate": np.float64(0.1), "warmup_steps": np.int64(7)}, SPACE.to_optuna())
    assert store.load("reviews").studies[0].trials[0].params == {"learning_rate": 0.1, "warmup_steps": 7}


@on_both
def test_a_metric_that_is_not_finite_survives(store: StudyStore, writer: StudyWriter) -> None:
    begin(writer, "a")
    writer.add_report("a", report(1, 0.5)._replace(metrics={"accuracy": 0.5, "f1": float("-inf")}))
    assert store.load("reviews").studies[0].trials[0].reports[0].metrics == {"accuracy": 0.5, "f1": float("-inf")}


@on_both
def test_a_dropped_checkpoint_is_forgotten_even_after_the_trials_end(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    begin(writer, "a")
    for epoch in (1, 2):
        writer.add_report("a", report(epoch, 0.1))
        (tmp_path / str(epoch)).mkdir()
        writer.add_checkpoint("a", epoch, str(tmp_path / str(epoch)))
    writer.end_trial("a", TrialState.COMPLETED)
    (tmp_path / "1").rmdir()
    writer.drop_checkpoint("a", 1)
    writer.write_checkpoints()
    assert store.load("reviews").studies[0].trials[0].checkpoints == {2: str(tmp_path / "2")}


@pytest.mark.unit
def test_of_two_checkpoints_of_one_epoch_the_better_reports_is_named(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    for trial in "ab":
        begin(writer, trial)
        writer.add_report(trial, report(1, 0.1))
    writer.add_report("a", report(2, 0.9))
    writer.add_checkpoint("a", 2, "/own")
    writer.add_exploit("a", exploit(1.0))
    writer.add_report("a", report(2, 0.3))
    writer.add_checkpoint("a", 2, "/from-the-donor")
    writer.write_checkpoints()
    assert store.load("reviews").studies[0].trials[0].checkpoints == {2: "/own"}


@on_both
def test_the_time_of_a_killed_run_counts_until_its_last_sign(store: StudyStore, writer: StudyWriter) -> None:
    writer.held_for(5.0)
    writer.held_for(10.0)
    assert store.load("reviews").studies[0].wall_seconds == 10.0
    resumed = open_study(store)
    resumed.held_for(3.0)
    resumed.held_for(4.0)
    assert store.load("reviews").studies[0].wall_seconds == 14.0


@on_both
def test_a_finished_study_opened_again_is_running_and_one_only_written_to_is_not(
    store: StudyStore, writer: StudyWriter
) -> None:
    writer.finish()
    study = store.load("reviews").study("pbt", 3)
    store.writer("reviews", study).set_test(TestScore("a", 1.0, {}, {"accuracy": 0.4}, 100, "/c", 7.0))
    assert store.load("reviews").studies[0].state is StudyState.FINISHED
    open_study(store)
    assert store.load("reviews").studies[0].state is StudyState.RUNNING


@pytest.mark.unit
def test_a_writer_for_a_study_that_is_not_there_is_refused(store: StudyStore, writer: StudyWriter) -> None:
    with pytest.raises(StoreError, match="study other/pbt/seed-3: not in the study store"):
        store.writer("other", store.load("reviews").studies[0])


@on_both
def test_another_spec_under_the_same_name_is_refused_with_the_keys_that_differ(
    store: StudyStore, writer: StudyWriter
) -> None:
    with pytest.raises(
        StoreError, match=r"experiment 'reviews'.*digest d1, now d2.*epochs, strategies\.0\.kind differ"
    ):
        open_study(store, digest="d2", strategy="grid", spec_yaml="epochs: 4\nstrategies:\n- kind: grid\n")


@on_both
def test_a_new_run_is_refused_where_another_one_has_recorded_the_study(store: StudyStore, writer: StudyWriter) -> None:
    begin(writer, "a")
    with pytest.raises(StoreError, match=r"another run has recorded reviews/pbt/seed-3 in .*; choose another name"):
        open_study(store, new=True)
    assert open_study(store, seed=4, new=True).name == "reviews/pbt/seed-4"
    assert [len(study.trials) for study in store.load("reviews").studies] == [1, 0]


@pytest.mark.unit
def test_an_unknown_experiment_names_the_nearest(store: StudyStore, writer: StudyWriter) -> None:
    with pytest.raises(StoreError, match="did you mean reviews"):
        store.load("review")
    with pytest.raises(StoreError, match="known: reviews"):
        store.load("zzz")


@on_both
def test_experiments_share_a_store_in_order_of_their_start(store: StudyStore, writer: StudyWriter) -> None:
    open_study(store, experiment="b", digest="x")
    open_study(store, experiment="a", digest="y")
    open_study(store, seed=4)
    assert store.experiments() == ("reviews", "b", "a")
    assert [s.seed for s in store.load("reviews").studies] == [3, 4]
    with pytest.raises(KeyError, match="no study of strategy 'pbt' with seed 9"):
        store.load("reviews").study("pbt", 9)


@on_both
def test_studies_of_other_programs_are_let_be(store: StudyStore, writer: StudyWriter, store_url: str) -> None:
    optuna.create_study(storage=connect(store_url, create=False), study_name="mine")
    assert store.experiments() == ("reviews",)


@pytest.mark.unit
def test_reading_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        StudyStore(sqlite_url(tmp_path / "none.db")).experiments()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.unit
def test_odd_characters_in_the_path_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a b{c}%41#?é" / "study.db"
    open_study(StudyStore(sqlite_url(path)))
    assert path.is_file()


@pytest.mark.unit
def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = StudyStore("sqlite:///study.db")
    writer = open_study(store)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    begin(writer, "a")
    assert len(store.load("reviews").studies[0].trials) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.unit
def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make its folder: .*; choose another path"):
        open_study(StudyStore(sqlite_url(tmp_path / "file" / "study.db")))


@pytest.mark.unit
def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        open_study(StudyStore(sqlite_url(tmp_path)))


@pytest.mark.unit
def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("hello " * 1000)
    with pytest.raises(StoreError, match=r"study\.db: file is not a database$"):
        StudyStore(sqlite_url(tmp_path / "study.db")).experiments()


@pytest.mark.unit
def test_another_programs_database_is_told_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("create table customers (name text)")
    with pytest.raises(StoreError, match="holds no studies"):
        StudyStore(sqlite_url(tmp_path / "other.db")).experiments()
    with sqlite3.connect(tmp_path / "other.db") as other:
        assert other.execute("select name from sqlite_master").fetchall() == [("customers",)]


@pytest.mark.unit
def test_a_schema_of_another_version_is_told_with_the_way_out(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "new" / "folder" / "study.db") as database:
        database.execute("update alembic_version set version_num = 'v3.0.0.d'")
    with pytest.raises(StoreError, match=r"no longer compatible.*optuna storage upgrade"):
        StudyStore(sqlite_url(tmp_path / "new" / "folder" / "study.db")).experiments()


@on_both
def test_a_layout_of_a_newer_version_is_told(store: StudyStore, writer: StudyWriter, store_url: str) -> None:
    with connect(store_url, create=False).engine.begin() as database:
        newer = "replace(value_json, '\"layout\": 2', '\"layout\": 3')"
        database.exec_driver_sql(f"update study_user_attributes set value_json = {newer}")
    with pytest.raises(StoreError, match="written by a newer tunefleet"):
        store.load("reviews")


@pytest.mark.unit
def test_a_database_that_breaks_during_a_run_is_told_with_what_to_do(
    store: StudyStore, writer: StudyWriter, tmp_path: Path
) -> None:
    begin(writer, "a")
    (tmp_path / "new" / "folder" / "study.db").write_bytes(b"x" * 100_000)
    with pytest.raises(StoreError, match=r"cannot record report of trial a at epoch 2 .*tunefleet resume"):
        writer.add_report("a", report(2, 0.6))


@on_both
def test_a_study_that_is_deleted_during_a_run_is_told(store: StudyStore, writer: StudyWriter, store_url: str) -> None:
    begin(writer, "a")
    writer.add_report("a", report(0.5, 0.5))
    optuna.delete_study(study_name="reviews/pbt/seed-3", storage=connect(store_url, create=False))
    with pytest.raises(StoreError, match="was deleted"):
        writer.add_report("a", report(1, 0.6))
    writer.add_checkpoint("a", 1, "/checkpoint")
    with pytest.raises(StoreError, match="was deleted"):
        writer.write_checkpoints()


@pytest.mark.unit
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
def test_a_url_that_cannot_be_a_store_is_told_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(StoreError, match=problem) as error:
        StudyStore(url).experiments()
    assert SECRET not in str(error.value)


@pytest.mark.unit
def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    store = StudyStore(f"postgresql://me:{SECRET}@127.0.0.1:1/x")
    with pytest.raises(StoreError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x.*refused; is the server up") as error:
        store.experiments()
    assert SECRET not in str(error.value)
    assert SECRET not in store.shown
    assert SECRET not in masked(f"postgresql://localhost/x?password={SECRET}")
    assert masked(f"nonsense://me:{SECRET}@x:y") == "nonsense://***@x:y"


@pytest.mark.unit
def test_neither_store_nor_writer_can_be_pickled(store: StudyStore, writer: StudyWriter) -> None:
    for holder in (store, writer):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(holder)


@pytest.mark.unit
def test_a_trials_name_is_the_same_in_every_run_of_its_study_and_no_other_studys(store: StudyStore) -> None:
    names = [open_study(store).name_trial(number) for number in (0, 1, 0)]
    assert names[0] == names[2] != names[1]
    assert open_study(store, seed=1).name_trial(0) not in names


@pytest.mark.unit
def test_a_trial_that_is_proposed_again_with_the_same_values_goes_on_with_its_record(store: StudyStore) -> None:
    writer = open_study(store)
    begin(writer, "a", 0.1)
    writer.add_report("a", report(1.0, 0.5))
    writer.add_report("a", report(2.0, 0.6))
    again = open_study(store)
    again.begin_trial("a", {"learning_rate": 0.1, "optim": "sgd"}, SPACE.to_optuna(), again=True)
    again.add_report("a", report(1.0, 0.5))
    again.add_report("a", report(2.0, 0.7))
    (trial,) = store.load("reviews").studies[0].trials
    assert (trial.state, [r.metrics["accuracy"] for r in trial.reports]) == (TrialState.RUNNING, [0.5, 0.7])


@pytest.mark.unit
def test_one_that_is_proposed_again_with_other_values_is_another_and_the_first_is_kept(store: StudyStore) -> None:
    writer = open_study(store)
    begin(writer, "a", 0.1)
    writer.add_report("a", report(1.0, 0.5))
    again = open_study(store)
    again.begin_trial("a", {"learning_rate": 0.2, "optim": "sgd"}, SPACE.to_optuna(), again=True)
    again.add_report("a", report(1.0, 0.5))
    trial, aside = store.load("reviews").studies[0].trials
    assert (trial.id, trial.params["learning_rate"], trial.state) == ("a", 0.2, TrialState.RUNNING)
    assert (aside.params["learning_rate"], aside.state, len(aside.reports)) == (0.1, TrialState.FAILED, 1)
    assert "lost in an interruption" in (aside.error or "")


@pytest.mark.unit
def test_a_store_in_which_a_trial_was_set_back_has_lost_nothing(store: StudyStore) -> None:
    """A snapshot says how many events there were; a trial that starts again from an older checkpoint has fewer."""
    writer = open_study(store)
    begin(writer, "a", 0.1)
    for epoch in (1.0, 2.0, 3.0):
        writer.add_report("a", report(epoch, 0.5))
    writer.add_report("a", report(2.0, 0.5))
    again = open_study(store)
    assert again.positions() == {"a": 2}
    again.check_holds({"a": 3})
    with pytest.raises(StoreError, match="holds 3 events, and 4 were recorded"):
        again.check_holds({"a": 4})
