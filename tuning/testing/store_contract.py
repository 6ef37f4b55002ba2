"""The contract of every study store: what is recorded is read back, once, also if it is recorded twice."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainables.data.row_hashes import hashes_of
from trainables.spec import Params
from trainables.tasks.summary import DataSummary, SplitSummary
from tuning.budget import ResourceUsage
from tuning.outcome import (
    Confirmation,
    Exploit,
    FinalModel,
    ScoredRows,
    Stretch,
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
from tuning.testing.recording import NAME, SPACE, begin_trial, make_exploit, make_report, open_study
from tuning.testing.rules import require, require_equal, require_refused

STATEMENT = "look at how this database runs the statements of tuning/store"
MISTAKE = "refuse it with a StoreError that says what to do"
MOST = 5_000  # characters of the record of 25,000 predictions
DATA = DataSummary(
    source="reviews.csv",
    splits={"train": SplitSummary(rows=3, classes={"neg": 1, "pos": 2}), "test": SplitSummary(rows=1)},
    duplicates=2,
)
NO_SCORE = TestScore("a", 1.0, {}, {"accuracy": 0.4}, 100, "/c", 7.0)


class StoreContract:
    """Tests of the study store on one database.

    A subclass states a fixture `store_url`, the URL of an empty one for each test:

        class TestMine(StoreContract):
            @pytest.fixture
            def store_url(self) -> str:
                return new_database()
    """

    @pytest.fixture
    def store(self, store_url: str) -> StudyStore:
        """Opens the store at `store_url`."""
        return StudyStore(store_url)

    @pytest.fixture
    def writer(self, store: StudyStore) -> StudyWriter:
        """Returns the writer of a study that begins."""
        return open_study(store)

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
            writer.set_confirmations(confirmation(seed))
            writer.set_confirmations(confirmation(seed, rows=said, **winner))
        failed = replace(confirmation(1000, validation=None, error="ValueError: no"), rank=1)
        writer.set_confirmations(failed)
        writer.set_test(replace(NO_SCORE, scored=classes))
        (study,) = store.load("reviews").studies
        expected = [failed, *(confirmation(seed, rows=rows[seed], **winner) for seed in sorted(rows))]
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

    def test_a_trial_recorded_twice_is_one(self, store: StudyStore, writer: StudyWriter) -> None:
        begin_trial(writer, "a")
        begin_trial(open_study(store), "a")
        require_equal([t.id for t in _trials(store)], ["a"], "a trial that is recorded twice is one", step=STATEMENT)

    def test_epochs_computed_again_after_a_crash_replace_the_old_ones(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a")
        for epoch in (1, 2, 3):
            writer.add_report("a", make_report(epoch, 0.1))
        resumed = open_study(store)
        resumed.add_report("a", make_report(2, 0.7))  # from the checkpoint of epoch 1
        rule = "epochs that are computed again after a crash replace the old ones"
        require_equal(_scores(store), [(1, 0.1), (2, 0.7)], rule, step=STATEMENT)
        resumed.add_report("a", make_report(3, 0.8))
        resumed.add_report("a", make_report(4, 0.9))
        store.close()
        require_equal(_scores(store), [(1, 0.1), (2, 0.7), (3, 0.8), (4, 0.9)], rule, step=STATEMENT)

    def test_a_second_crash_at_an_earlier_epoch_leaves_no_trace_of_both_futures(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a")
        for number, epoch in enumerate((1, 2, 3, 4, 2, 3, 1, 2)):
            writer.add_report("a", make_report(epoch, number / 10))
        rule = "a second crash at an earlier epoch leaves no trace of what came after it"
        require_equal(_scores(store), [(1, 0.6), (2, 0.7)], rule, step=STATEMENT)
        require_equal(open_study(store).reports("a")[-1].epoch, 2, rule, step=STATEMENT)

    def test_a_clone_that_goes_back_to_an_earlier_epoch_of_its_donor_keeps_its_own_past(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
        writer.add_report("b", make_report(1, 0.9))
        for epoch in (1, 2, 3):
            writer.add_report("a", make_report(epoch, 0.1))
        writer.add_exploit("a", make_exploit(1.0))
        writer.add_report("a", make_report(2, 0.9))
        rule = "a clone that goes back to its donor's epoch keeps its own past"
        require_equal(_scores(store), [(1, 0.1), (2, 0.1), (3, 0.1), (2, 0.9)], rule, step=STATEMENT)

    def test_a_crash_from_before_an_exploit_takes_the_exploit_back(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
            writer.add_report(trial, make_report(1, 0.1))
            writer.add_report(trial, make_report(2, 0.1))
        snapshot = writer.positions()
        writer.add_exploit("a", make_exploit(2.0))
        writer.add_report("a", make_report(3, 0.9))
        resumed = open_study(store)
        resumed.rewind("a", snapshot["a"])
        rule = "nothing is lost before there is something to replace it"
        require_equal([epoch for epoch, _ in _scores(store)], [1, 2, 3], rule, step=STATEMENT)
        resumed.add_report("a", make_report(3, 0.2))
        rule = "a crash from before an exploit takes the exploit back"
        found = _trials(store)[0].lineage, _scores(store)[-1]
        require_equal(found, ((), (3, 0.2)), rule, step=STATEMENT)

    def test_an_exploit_recorded_twice_is_one(self, store: StudyStore, writer: StudyWriter) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
            writer.add_report(trial, make_report(1, 0.1))
        writer.add_exploit("a", make_exploit(1.0))
        open_study(store).add_exploit("a", make_exploit(1.0))
        number = len(_trials(store)[0].lineage)
        require_equal(number, 1, "an exploit that is recorded twice is one", step=STATEMENT)

    def test_an_exploit_of_an_epoch_that_the_donor_never_reported_is_refused(self, writer: StudyWriter) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
        rule = "an exploit of an epoch that its donor never reported is refused"
        message = "took over epoch 5 of trial b, which has no report there"
        with require_refused(StoreError, message, rule, step=MISTAKE):
            writer.add_exploit("a", make_exploit(5.0))

    def test_the_last_epochs_of_a_completed_trial_recorded_again_change_nothing(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a")
        writer.add_report("a", make_report(1, 0.1))
        writer.add_report("a", make_report(2, 0.2))
        writer.end_trial("a", TrialState.COMPLETED)
        resumed = open_study(store)
        resumed.rewind("a", 1)
        resumed.add_report("a", make_report(2, 0.3))
        resumed.end_trial("a", TrialState.COMPLETED)
        rule = "the last epochs of a completed trial, recorded again, change nothing"
        found = _trials(store)[0].state, _scores(store)[-1]
        require_equal(found, (TrialState.COMPLETED, (2, 0.2)), rule, step=STATEMENT)

    def test_a_failed_trial_that_goes_on_is_one_trial_with_its_past(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
        writer.add_report("a", make_report(1, 0.1))
        writer.end_trial("a", TrialState.FAILED, "OSError: the node went away")
        writer.add_report("a", make_report(2, 0.2))
        rule = "a failed trial that goes on is one trial, with its past"
        require_equal(_trials(store)[0].state, TrialState.RUNNING, rule, step=STATEMENT)
        writer.end_trial("a", TrialState.COMPLETED)
        a, b = _trials(store)
        found = (a.id, a.number, a.state, a.error, [r.epoch for r in a.reports], b.state)
        expected = ("a", 0, TrialState.COMPLETED, None, [1, 2], TrialState.RUNNING)
        require_equal(found, expected, rule, step=STATEMENT)
        require_equal(open_study(store).reports("a"), a.reports, rule, step=STATEMENT)

    def test_no_trial_completes_without_a_report(self, writer: StudyWriter) -> None:
        begin_trial(writer, "a")
        rule = "no trial completes without a report"
        with require_refused(ValueError, "cannot end as completed after 0 reports", rule, step=MISTAKE):
            writer.end_trial("a", TrialState.COMPLETED)

    def test_a_trial_that_was_never_begun_is_refused(self, writer: StudyWriter) -> None:
        rule = "a report of a trial that was never begun is refused"
        with require_refused(StoreError, "trial x was never begun", rule, step=MISTAKE):
            writer.add_report("x", make_report(1, 0.1))

    def test_values_outside_the_space_are_kept(self, store: StudyStore, writer: StudyWriter) -> None:
        params: Params = {"learning_rate": 5.0, "optim": "adamw_torch", "weight_decay": 0.1}
        writer.begin_trial("a", params, SPACE.to_optuna())
        rule = "values outside the space are kept, and stay off the axes of the dashboard"
        require_equal(_trials(store)[0].params, params, rule, step=STATEMENT)

    def test_numpys_values_become_plain_ones(self, store: StudyStore, writer: StudyWriter) -> None:
        import numpy as np

        params: Any = {"learning_rate": np.float64(0.1), "warmup_steps": np.int64(7)}
        writer.begin_trial("a", params, SPACE.to_optuna())
        found = {name: (type(value), value) for name, value in _trials(store)[0].params.items()}
        expected = {"learning_rate": (float, 0.1), "warmup_steps": (int, 7)}
        require_equal(found, expected, "NumPy's values become plain ones", step=STATEMENT)

    def test_a_metric_that_is_not_finite_survives(self, store: StudyStore, writer: StudyWriter) -> None:
        metrics = {"accuracy": 0.5, "f1": float("-inf")}
        begin_trial(writer, "a")
        writer.add_report("a", make_report(1, 0.5)._replace(metrics=metrics))
        found = _trials(store)[0].reports[0].metrics
        require_equal(found, metrics, "a metric that is not finite survives", step=STATEMENT)

    def test_a_dropped_checkpoint_is_forgotten_even_after_the_trials_end(
        self, store: StudyStore, writer: StudyWriter, tmp_path: Path
    ) -> None:
        begin_trial(writer, "a")
        for epoch in (1, 2):
            writer.add_report("a", make_report(epoch, 0.1))
            (tmp_path / str(epoch)).mkdir()
            writer.add_checkpoint("a", epoch, str(tmp_path / str(epoch)))
        writer.end_trial("a", TrialState.COMPLETED)
        (tmp_path / "1").rmdir()
        writer.drop_checkpoint("a", 1)
        writer.write_checkpoints()
        rule = "a dropped checkpoint is forgotten, also after its trial's end"
        require_equal(_trials(store)[0].checkpoints, {2: str(tmp_path / "2")}, rule, step=STATEMENT)

    def test_of_two_checkpoints_of_one_epoch_the_better_reports_is_named(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        for trial in "ab":
            begin_trial(writer, trial)
            writer.add_report(trial, make_report(1, 0.1))
        writer.add_report("a", make_report(2, 0.9))
        writer.add_checkpoint("a", 2, "/own")
        writer.add_exploit("a", make_exploit(1.0))
        writer.add_report("a", make_report(2, 0.3))
        writer.add_checkpoint("a", 2, "/from-the-donor")
        writer.write_checkpoints()
        rule = "of two checkpoints of one epoch the one of the better report is named"
        require_equal(_trials(store)[0].checkpoints, {2: "/own"}, rule, step=STATEMENT)

    def test_the_time_of_a_killed_run_counts_until_its_last_sign(self, store: StudyStore, writer: StudyWriter) -> None:
        begin_trial(writer, "a")
        writer.record_usage(ResourceUsage(5.0, 10.0, 5.0, 1005.0))
        writer.add_report("a", make_report(1, 0.5), ResourceUsage(8.0, 16.0, 8.0, 1008.0))
        rule = "the time of a killed run counts until its last sign, a report for one"
        (killed,) = store.load("reviews").studies
        held = (killed.wall_seconds, killed.slot_seconds, killed.device_seconds, killed.trials[0].costs)
        require_equal(held, (8.0, 16.0, 8.0, (8.0,)), rule, step=STATEMENT)
        require_equal(open_study(store).interrupted_at, 1008.0, rule, step=STATEMENT)
        writer.record_usage(ResourceUsage(9.0, 18.0, 9.0, 1009.0), ended=True)
        rule = "a run that says that it ends was not cut off"
        require_equal(open_study(store).interrupted_at, None, rule, step=STATEMENT)

    def test_the_cost_of_a_trial_stays_when_it_is_recorded_again(self, store: StudyStore, writer: StudyWriter) -> None:
        begin_trial(writer, "a")
        writer.add_report("a", make_report(1, 0.5), ResourceUsage(8.0, 16.0, 8.0, 1008.0))
        writer.add_report("a", make_report(2, 0.6), ResourceUsage(9.0, 18.0, 9.0, 1009.0))
        resumed = open_study(store)
        resumed.rewind("a", 0)
        resumed.add_report("a", make_report(1, 0.5), ResourceUsage(20.0, 40.0, 20.0, 2008.0))
        resumed.add_report(
            "a", make_report(2, 0.6, time=2009.0), ResourceUsage(21.0, 42.0, 21.0, 2009.0)
        )  # computed again
        rule = "a report that was known keeps what it had cost, and one that was computed again has its own"
        require_equal(store.load("reviews").studies[0].trials[0].costs, (8.0, 21.0), rule, step=STATEMENT)

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
        writer.add_checkpoint("a", 1, "/checkpoint")
        with require_refused(StoreError, "was deleted", rule, step=MISTAKE):
            writer.write_checkpoints()

    def test_neither_store_nor_writer_can_be_pickled(self, store: StudyStore, writer: StudyWriter) -> None:
        for holder in (store, writer):
            rule = "a store and its writer are never pickled: they may hold a password"
            with require_refused(TypeError, "never pickled", rule, step="raise TypeError in __reduce__"):
                pickle.dumps(holder)

    def test_a_trials_name_is_the_same_in_every_run_of_its_study_and_no_other_studys(self, store: StudyStore) -> None:
        first, other, again = (open_study(store).name_trial(number) for number in (0, 1, 0))
        names = {first, other, open_study(store, seed=1).name_trial(0)}
        rule = "a trial's name follows from its study and its number: the same in each run, and no other study's"
        require_equal((first, len(names)), (again, 3), rule, step=STATEMENT)

    def test_a_trial_that_is_proposed_again_with_the_same_values_goes_on_with_its_record(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a")
        writer.add_report("a", make_report(1.0, 0.5))
        writer.add_report("a", make_report(2.0, 0.6))
        resumed = open_study(store)
        begin_trial(resumed, "a", again=True)
        resumed.add_report("a", make_report(1.0, 0.5))
        resumed.add_report("a", make_report(2.0, 0.7))
        rule = "a trial that is proposed again with the same values goes on with its record"
        found = [trial.state for trial in _trials(store)], _scores(store)
        require_equal(found, ([TrialState.RUNNING], [(1.0, 0.5), (2.0, 0.7)]), rule, step=STATEMENT)

    def test_one_that_is_proposed_again_with_other_values_is_another_and_the_first_is_kept(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        begin_trial(writer, "a", 0.1)
        writer.add_report("a", make_report(1.0, 0.5))
        resumed = open_study(store)
        begin_trial(resumed, "a", 0.2, again=True)
        resumed.add_report("a", make_report(1.0, 0.5))
        found = [(trial.params["learning_rate"], trial.state, len(trial.reports)) for trial in _trials(store)]
        expected = [(0.2, TrialState.RUNNING, 1), (0.1, TrialState.FAILED, 1)]
        rule = "one that is proposed again with other values is another, and the first is kept as lost"
        require_equal(found, expected, rule, step=STATEMENT)
        trial, aside = _trials(store)
        left = (trial.id, "lost in an interruption" in (aside.error or ""))
        require_equal(left, ("a", True), rule, step=STATEMENT)

    def test_a_store_in_which_a_trial_was_set_back_has_lost_nothing(
        self, store: StudyStore, writer: StudyWriter
    ) -> None:
        """A snapshot holds the number of events; a trial that starts again from an older checkpoint has fewer."""
        begin_trial(writer, "a")
        for epoch in (1.0, 2.0, 3.0, 2.0):
            writer.add_report("a", make_report(epoch, 0.5))
        resumed = open_study(store)
        rule = "a store distinguishes a trial that was set back from one whose reports were lost"
        require_equal(resumed.positions(), {"a": 2}, rule, step=STATEMENT)
        require_equal(resumed.event_counts(), {"a": 3}, rule, step=STATEMENT)

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


def confirmation(seed: int, **changed: Any) -> Confirmation:
    """Returns one training of a configuration with that seed, without a test score."""
    schedule = (Stretch(0.0, 1.0, {"learning_rate": 0.1}), Stretch(1.0, 2.0, {"learning_rate": 0.4}))
    scores: dict[str, Any] = {"validation": {"accuracy": 0.5, "f1": float("nan")}, **changed}
    return Confirmation(2, "a", 2.0, schedule, 0.625, seed, 12.5, 7.0, **scores)


def _trials(store: StudyStore) -> tuple[TrialOutcome, ...]:
    return store.load("reviews").studies[0].trials


def _scores(store: StudyStore) -> list[tuple[float, float]]:
    """Returns the reports of trial `a`, as (epoch, accuracy)."""
    (trial,) = [trial for trial in _trials(store) if trial.id == "a"]
    return [(report.epoch, report.metrics["accuracy"]) for report in trial.reports]


def _optuna_study(url: str) -> Any:
    import optuna

    return optuna.load_study(study_name=NAME, storage=open_database(url, create=False))
