"""The contract of a study's trials in a store: recorded twice, taken back or proposed again, each is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables.spec import Params
from tuning.budget import ResourceUsage
from tuning.outcome import TrialOutcome, TrialState
from tuning.store.study_store import StoreError, StudyStore, StudyWriter
from tuning.testing.recording import SPACE, begin_trial, make_exploit, make_report, open_study
from tuning.testing.rules import require_equal, require_refused

STATEMENT = "look at how this database runs the statements of tuning/store"
MISTAKE = "refuse it with a StoreError that says what to do"


class TrialRecordContract:
    """Tests of what a store records of trials; see `StoreContract`."""

    @pytest.fixture
    def store(self, store_url: str) -> StudyStore:
        """Opens the store at `store_url`."""
        return StudyStore(store_url)

    @pytest.fixture
    def writer(self, store: StudyStore) -> StudyWriter:
        """Returns the writer of a study that begins."""
        return open_study(store)

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
        _begin_two_trials(writer)
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
        _begin_two_trials(writer, epochs=2)
        position = writer.position("a")
        writer.add_exploit("a", make_exploit(2.0))
        writer.add_report("a", make_report(3, 0.9))
        resumed = open_study(store)
        resumed.rewind("a", position)
        rule = "nothing is lost before there is something to replace it"
        require_equal([epoch for epoch, _ in _scores(store)], [1, 2, 3], rule, step=STATEMENT)
        resumed.add_report("a", make_report(3, 0.2))
        rule = "a crash from before an exploit takes the exploit back"
        found = _trials(store)[0].lineage, _scores(store)[-1]
        require_equal(found, ((), (3, 0.2)), rule, step=STATEMENT)

    def test_an_exploit_recorded_twice_is_one(self, store: StudyStore, writer: StudyWriter) -> None:
        _begin_two_trials(writer, epochs=1)
        writer.add_exploit("a", make_exploit(1.0))
        open_study(store).add_exploit("a", make_exploit(1.0))
        number = len(_trials(store)[0].lineage)
        require_equal(number, 1, "an exploit that is recorded twice is one", step=STATEMENT)

    def test_an_exploit_of_an_epoch_that_the_donor_never_reported_is_refused(self, writer: StudyWriter) -> None:
        _begin_two_trials(writer)
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
        _begin_two_trials(writer)
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
        _begin_two_trials(writer, epochs=1)
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
        computed_again = make_report(2, 0.6, time=2009.0)
        resumed.add_report("a", computed_again, ResourceUsage(21.0, 42.0, 21.0, 2009.0))
        rule = "a report that was known keeps what it had cost, and one that was computed again has its own"
        require_equal(store.load("reviews").studies[0].trials[0].costs, (8.0, 21.0), rule, step=STATEMENT)

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
        require_equal(resumed.position("a"), 2, rule, step=STATEMENT)
        require_equal(resumed.event_counts(), {"a": 3}, rule, step=STATEMENT)


def _begin_two_trials(writer: StudyWriter, *, epochs: int = 0) -> None:
    """Records that the trials `a` and `b` begin, and that each reports an accuracy of 0.1 in its first epochs."""
    for trial in "ab":
        begin_trial(writer, trial)
        for epoch in range(1, epochs + 1):
            writer.add_report(trial, make_report(epoch, 0.1))


def _trials(store: StudyStore) -> tuple[TrialOutcome, ...]:
    return store.load("reviews").studies[0].trials


def _scores(store: StudyStore) -> list[tuple[float, float]]:
    """Returns the reports of trial `a`, as (epoch, accuracy)."""
    (trial,) = [trial for trial in _trials(store) if trial.id == "a"]
    return [(report.epoch, report.metrics["accuracy"]) for report in trial.reports]
