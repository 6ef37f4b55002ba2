"""The contract of every study store: what is recorded is read back, once, also if it is recorded twice."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainables.data.row_hashes import hashes_of
from trainables.spec import Params
from trainables.tasks.summary import DataSummary, SplitSummary
from tuning.budget import ResourceUsage
from tuning.outcome import (
    Exploit,
    FinalModel,
    ScoredRows,
    StudyOutcome,
    StudyState,
    TestScore,
    TrialOutcome,
    TrialState,
)
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.store.copy import copy_experiment
from tuning.store.database import open_database
from tuning.store.evaluation_ledger import TestRows
from tuning.store.study_store import StoreError, StudyStore, StudyWriter, sqlite_url
from tuning.testing.recording import NAME, SPACE, begin_trial, make_confirmation, make_exploit, make_report, open_study
from tuning.testing.rules import require, require_equal, require_refused
from tuning.testing.trial_record_contract import MISTAKE, STATEMENT, TrialRecordContract

MOST = 5_000  # characters of the record of 25,000 predictions
DATA = DataSummary(
    source="reviews.csv",
    splits={"train": SplitSummary(rows=3, classes={"neg": 1, "pos": 2}), "test": SplitSummary(rows=1)},
    duplicates=2,
)
NO_SCORE = TestScore("a", 1.0, {}, {"accuracy": 0.4}, 100, "/c", 7.0)


class StoreContract(TrialRecordContract):
    """Tests of the study store on one database.

    A subclass states a fixture `store_url`, the URL of an empty one for each test:

        class TestMine(StoreContract):
            @pytest.fixture
            def store_url(self) -> str:
                return new_database()
    """

    def test_everything_that_goes_in_comes_out(self, store: StudyStore, writer: StudyWriter, tmp_path: Path) -> None:
        for trial in "abcd":
            begin_trial(writer, trial)
        first, second = make_report(1, 0.5), make_report(2, 0.25)
        for trial in "abc":
            writer.add_report(trial, first)
        writer.add_exploit("a", make_exploit(1.0))
        writer.add_report("a", second)
        writer.add_checkpoint("a", 2.0, str(tmp_path))
        writer.end_trial("a", TrialState.COMPLETED)
        writer.end_trial("b", TrialState.STOPPED)
        writer.end_trial("c", TrialState.FAILED, "ValueError: no")
        writer.set_test(NO_SCORE)
        writer.set_data(DATA)
        writer.record_usage(ResourceUsage(12.5, 25.0, 12.5, 1000.0))
        writer.finish()

        outcome = store.load("reviews")
        params: Params = {"learning_rate": 0.1, "optim": "sgd"}
        taken_over = Exploit(1.0, "b", {"learning_rate": 0.1}, {"learning_rate": 0.4}, 5.0, 1, 1)
        trials = (
            TrialOutcome("a", 0, TrialState.COMPLETED, params, (first, second), (taken_over,), {2.0: str(tmp_path)}),
            TrialOutcome("b", 1, TrialState.STOPPED, params, (first,)),
            TrialOutcome("c", 2, TrialState.FAILED, params, (first,), error="ValueError: no"),
            TrialOutcome("d", 3, TrialState.RUNNING, params),
        )
        study = StudyOutcome(
            "pbt", "pbt", 3, StudyState.FINISHED, "accuracy", "max", trials, 12.5, 2, 0.5, "GPU", NO_SCORE,
            {"torch": "2.13"}, data=DATA,
        )  # fmt: skip
        rule = "everything that a run records comes out as it went in"
        require_equal((outcome.name, outcome.digest), ("reviews", "d1"), rule, step=STATEMENT)
        (found,) = outcome.studies
        require_equal(found.trials, trials, rule, step=STATEMENT)
        require_equal(replace(found, slot_seconds=None, cost=None), study, rule, step=STATEMENT)
        require_equal(found.device_seconds, 12.5 * 2 * 0.5, rule, step=STATEMENT)

    def test_what_models_said_to_25_000_rows_comes_out_and_takes_little_room(
        self, store: StudyStore, writer: StudyWriter, store_url: str
    ) -> None:
        classes = ScoredRows(tuple(float(i % 3) for i in range(25_000)), tuple(float(i % 2) for i in range(25_000)))
        values = ScoredRows((0.1, -1e300, 3.0), (1 / 3, 2.0**60, -0.5))
        signed = ScoredRows((-1.0, 300.0), (70_000.0, 0.0))
        winner = {"test": {"accuracy": 0.25}, "tested_at": 9.0}
        rows = {1002: values, 1000: None, 1003: signed, 1001: classes}
        for seed, said in rows.items():
            writer.set_confirmations(make_confirmation(seed))
            writer.set_confirmations(make_confirmation(seed, rows=said, **winner))
        failed = replace(make_confirmation(1000, validation=None, error="ValueError: no"), rank=1)
        writer.set_confirmations(failed)
        writer.set_test(replace(NO_SCORE, scored=classes))
        (study,) = store.load("reviews").studies
        expected = [failed, *(make_confirmation(seed, rows=rows[seed], **winner) for seed in sorted(rows))]
        rule = "confirmations come out in order of rank and seed, with every row"
        require_equal(list(map(repr, study.confirmations)), list(map(repr, expected)), rule, step=STATEMENT)
        scored = None if study.test is None else study.test.scored
        require_equal(scored, classes, "the rows behind the test score come out", step=STATEMENT)
        stored = max(len(json.dumps(value)) for value in _optuna_study(store_url).user_attrs.values())
        require(
            stored < MOST,
            "the rows are recorded packed: a page reads those of many models",
            seen=f"an attribute of {stored} characters",
            step="pack them (tuning/store/selection_records.py)",
        )
        plain = json.loads(json.dumps(store.load("reviews").to_json(), allow_nan=False))["studies"][0]
        shown = [found["rows"] for found in plain["confirmations"]], "scored" in plain["test"]
        rule = "JSON has the number of rows, and not the rows"
        require_equal(shown, ([None, None, 25_000, 3, 2], False), rule, step=STATEMENT)

    def test_every_final_model_is_remembered(self, store: StudyStore, writer: StudyWriter) -> None:
        scores = {"accuracy": 0.5, "f1": math.inf}
        models = [FinalModel("/m", "a", 2.0, seed, scores, 100, 1.5, 7.0) for seed in (0, 1)]
        for model in models:
            writer.add_final(model)
        finals = store.load("reviews").studies[0].finals
        require_equal(finals, tuple(models), "every final model is remembered", step=STATEMENT)
        hidden, last = [FinalModel("/n", "a", 2.0, 0, {}, 100, 1.5, time, "packed") for time in (8.0, 9.0)]
        shown = replace(hidden, metrics=scores, sealed=None)
        for model in (hidden, last, shown):
            writer.add_final(model)
        finals = store.load("reviews").studies[0].finals
        rule = "a hidden score is kept as it is, and replaced when it is shown"
        require_equal(finals, (*models, shown, last), rule, step=STATEMENT)

    def test_the_test_rows_are_remembered_with_who_looked_at_them_before(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        require_equal(store.test_rows("reviews"), None, "no rows are known before they are recorded", step=STATEMENT)
        rows = TestRows.of(hashes_of([("one", "two"), ("three", "four")]))
        memory = EarlierEvaluations(2, 3, 1, ("a", "b"), 9, 0, ())
        writer.set_test_rows(rows.to_json(), memory)
        found = store.test_rows("reviews")
        read = None if found is None else (found.count, found.hashes.tolist())
        require_equal(read, (2, rows.hashes.tolist()), "the hashes of the test rows come out", step=STATEMENT)
        require_equal(store.load("reviews").test_memory, memory, "so does who looked at them before", step=STATEMENT)

    def test_optuna_sees_states_values_and_distributions(self, writer: StudyWriter, store_url: str) -> None:
        ends = {"a": TrialState.COMPLETED, "b": TrialState.STOPPED, "c": TrialState.FAILED}
        for trial, state in ends.items():
            begin_trial(writer, trial)
            writer.add_report(trial, make_report(0.5, 0.75))
            writer.add_report(trial, make_report(1, 0.5))
            writer.end_trial(trial, state, "it broke" if state is TrialState.FAILED else None)
        study = _optuna_study(store_url)
        shown = [(trial.state.name, trial.value, trial.intermediate_values) for trial in study.trials]
        values = {1: 0.75, 2: 0.5}
        # Of a completed one its best; of a stopped one where it was stopped; of a failed one nothing.
        expected = [("COMPLETE", 0.75, values), ("PRUNED", 0.5, values), ("FAIL", None, values)]
        rule = "Optuna, and so its dashboard, shows the trials as they are"
        require_equal(shown, expected, rule, step=STATEMENT)
        require_equal(study.trials[0].distributions, SPACE.to_optuna(), rule, step=STATEMENT)
        require_equal(study.best_trial.user_attrs["trial_id"], "a", rule, step=STATEMENT)

    def test_a_finished_study_opened_again_is_running_and_one_only_written_to_is_not(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        writer.finish()
        store.writer("reviews", store.load("reviews").study("pbt", 3)).set_test(NO_SCORE)
        rule = "a finished study that is written to stays finished"
        require_equal(store.load("reviews").studies[0].state, StudyState.FINISHED, rule, step=STATEMENT)
        open_study(store)
        rule = "a finished study that is opened again is running"
        require_equal(store.load("reviews").studies[0].state, StudyState.RUNNING, rule, step=STATEMENT)

    def test_a_writer_for_a_study_that_is_not_there_is_refused(self, store: StudyStore, writer: StudyWriter) -> None:
        (study,) = store.load("reviews").studies
        rule = "a writer for a study that is not there is refused"
        with require_refused(StoreError, "study other/pbt/seed-3: not in the study store", rule, step=MISTAKE):
            store.writer("other", study)

    def test_another_spec_under_the_same_name_is_refused_with_the_keys_that_differ(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        rule = "another spec under the same name is refused with the keys that differ"
        message = r"experiment 'reviews'.*digest d1, now d2.*epochs, strategies\.0\.kind differ"
        with require_refused(StoreError, message, rule, step=MISTAKE):
            open_study(store, digest="d2", strategy="grid", spec_yaml="epochs: 4\nstrategies:\n- kind: grid\n")

    def test_a_new_run_is_refused_where_another_one_has_recorded_the_study(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a")
        rule = "a new run is refused where another one has recorded its study, and a study beside it is not"
        message = f"another run has recorded {NAME} in .*; choose another name"
        with require_refused(StoreError, message, rule, step=MISTAKE):
            open_study(store, new=True)
        open_study(store, seed=4, new=True)
        found = [(study.seed, len(study.trials)) for study in store.load("reviews").studies]
        require_equal(found, [(3, 1), (4, 0)], rule, step=STATEMENT)

    def test_an_unknown_experiment_names_the_nearest(self, store: StudyStore, writer: StudyWriter) -> None:
        rule = "an experiment that is not there is refused with the nearest name, or with those that are"
        for name, message in (("review", "did you mean reviews"), ("zzz", "known: reviews")):
            with require_refused(StoreError, message, rule, step=MISTAKE):
                store.load(name)

    def test_experiments_share_a_store_in_order_of_their_start(self, store: StudyStore, writer: StudyWriter) -> None:
        open_study(store, experiment="b", digest="x")
        open_study(store, experiment="a", digest="y")
        open_study(store, seed=4)
        rule = "experiments share a store, in order of their start"
        require_equal(store.experiments(), ("reviews", "b", "a"), rule, step=STATEMENT)
        require_equal([s.seed for s in store.load("reviews").studies], [3, 4], rule, step=STATEMENT)
        with require_refused(KeyError, "no study of strategy 'pbt' with seed 9", rule, step=MISTAKE):
            store.load("reviews").study("pbt", 9)

    def test_studies_of_other_programs_are_let_be(self, store: StudyStore, writer: StudyWriter, store_url: str) -> None:
        import optuna

        optuna.create_study(storage=open_database(store_url, create=False), study_name="mine")
        rule = "studies of other programs in the same database are let be"
        require_equal(store.experiments(), ("reviews",), rule, step=STATEMENT)

    def test_a_layout_of_a_newer_version_is_refused(
        self, store: StudyStore, writer: StudyWriter, store_url: str
    ) -> None:
        with open_database(store_url, create=False).engine.begin() as database:
            newer = "replace(value_json, '\"layout\": 2', '\"layout\": 3')"
            database.exec_driver_sql(f"update study_user_attributes set value_json = {newer}")
        rule = "what a newer version has written is refused, and not misread"
        with require_refused(StoreError, "written by a newer tunefleet", rule, step=MISTAKE):
            store.load("reviews")

    def test_a_study_that_is_deleted_during_a_run_is_reported(
        self, store: StudyStore, writer: StudyWriter, store_url: str
    ) -> None:
        import optuna

        begin_trial(writer, "a")
        writer.add_report("a", make_report(0.5, 0.5))
        optuna.delete_study(study_name=NAME, storage=open_database(store_url, create=False))
        rule = "a run whose study is deleted gets an error"
        with require_refused(StoreError, "was deleted", rule, step=MISTAKE):
            writer.add_report("a", make_report(1, 0.6))
        with require_refused(StoreError, "was deleted", rule, step=MISTAKE):
            begin_trial(writer, "b")
        with require_refused(StoreError, "was deleted", rule, step=MISTAKE):
            writer.end_trial("a", TrialState.STOPPED)
        writer.add_checkpoint("a", 1, "/checkpoint")
        with require_refused(StoreError, "was deleted", rule, step=MISTAKE):
            writer.write_checkpoints()

    def test_neither_store_nor_writer_can_be_pickled(self, store: StudyStore, writer: StudyWriter) -> None:
        for holder in (store, writer):
            rule = "a store and its writer are never pickled: they may hold a password"
            with require_refused(TypeError, "never pickled", rule, step="raise TypeError in __reduce__"):
                pickle.dumps(holder)

    def test_an_experiment_is_copied_whole_and_alone(self, store: StudyStore, store_url: str, tmp_path: Path) -> None:
        other = open_study(store, experiment="others")
        begin_trial(other, "x")
        other.add_report("x", make_report(1, 0.9))
        for seed in (0, 1):
            writer = open_study(store, seed=seed)
            for trial in "ab":
                begin_trial(writer, trial)
                writer.add_report(trial, make_report(1, 0.5))
            writer.add_exploit("a", make_exploit(1.0))
            writer.add_report("a", make_report(2, 0.75))
            writer.add_checkpoint("a", 2.0, str(tmp_path))
            writer.end_trial("a", TrialState.COMPLETED)
            if seed == 0:
                writer.end_trial("b", TrialState.FAILED, error="no more memory")
                writer.finish()
        copy_experiment(store_url, "reviews", tmp_path / "copy.db")
        copy = StudyStore(sqlite_url(tmp_path / "copy.db"))
        rule = "an experiment is copied whole, and alone, into a file"
        require_equal(copy.load("reviews"), store.load("reviews"), rule, step=STATEMENT)
        require_equal(copy.experiments(), ("reviews",), rule, step=STATEMENT)
        states = [study.state for study in copy.load("reviews").studies]
        require_equal(states, [StudyState.FINISHED, StudyState.RUNNING], rule, step=STATEMENT)

    def test_an_experiment_that_is_not_there_leaves_no_copy(
        self, writer: StudyWriter, store_url: str, tmp_path: Path
    ) -> None:
        rule = "an experiment that is not there is not copied, and no file is left"
        with require_refused(StoreError, "did you mean reviews", rule, step=MISTAKE):
            copy_experiment(store_url, "review", tmp_path / "copy.db")
        require_equal((tmp_path / "copy.db").exists(), False, rule, step="copy into a file of another name first")


def _optuna_study(url: str) -> Any:
    import optuna

    return optuna.load_study(study_name=NAME, storage=open_database(url, create=False))
