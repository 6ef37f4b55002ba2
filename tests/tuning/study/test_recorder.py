"""The recorder: what it writes of what Tune tells, and what it keeps to itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from ray.tune.callback import CallbackList

from tests.support.stores import SPACE, open_study
from trainables.reporting import Report
from tuning.outcome import Exploit
from tuning.store.study_store import StoreError, StudyStore, sqlite_url
from tuning.study.recorder import Recorder

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return StudyStore(sqlite_url(tmp_path / "study.db"))


class FakeTrial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.config = {"learning_rate": 0.1, "optim": "sgd"}


def tell(recorder: Recorder, trial: Any, epoch: float) -> None:
    """A result, as Tune hands it to callbacks: nested, and after the scheduler had its turn."""
    report = Report(epoch, {"accuracy": 0.5}, trial.config, 1.0, 0.0)
    recorder.on_trial_result(0, [], trial, report.to_result())


def test_what_a_slot_has_to_say_of_damaged_states_is_said_by_the_driver(
    store: StudyStore, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, trial = Recorder(open_study(store), SPACE), FakeTrial("a")
    recorder.on_trial_start(0, [trial], trial)
    result = Report(1, {"accuracy": 0.5}, trial.config, 1.0, 0.0).to_result()
    recorder.on_trial_result(0, [], trial, {**result, "warnings": ["weights are damaged: not used"]})
    assert [record.getMessage() for record in caplog.records] == ["a: weights are damaged: not used"]


def test_an_exploit_is_recorded_after_the_report_that_it_was_decided_on(store: StudyStore) -> None:
    recorder = Recorder(open_study(store), SPACE)
    donor, member = FakeTrial("a"), FakeTrial("b")
    for trial in (donor, member):
        recorder.on_trial_start(0, [], trial)
    tell(recorder, donor, 1)
    exploit = Exploit(1.0, "a", {}, {"learning_rate": 0.2}, 0.0, reports=0, donor_reports=0)
    recorder.record_exploit("b", exploit)
    tell(recorder, member, 1)
    tell(recorder, member, 2)
    _, clone = store.load("reviews").studies[0].trials
    assert [r.epoch for r in clone.reports] == [1, 2]
    assert [(x.reports, x.donor_reports) for x in clone.lineage] == [(1, 1)]


def test_a_recorder_pickles_without_its_store(tmp_path: Path, store: StudyStore) -> None:
    """Its URL may hold a password."""
    pickled = pickle.dumps(Recorder(open_study(store), SPACE))
    assert b"study.db" not in pickled
    with pytest.raises(StoreError, match="restored from a pickle"):
        pickle.loads(pickled).setup()


def test_a_recorder_knows_how_far_each_trial_is_and_leaves_nothing_in_tunes_own_snapshot(store: StudyStore) -> None:
    recorder = Recorder(open_study(store), SPACE)
    recorder.on_trial_start(0, [], FakeTrial("a"))
    tell(recorder, FakeTrial("a"), 1)
    assert (recorder.position("a"), recorder.position("b")) == (1, 0)
    assert CallbackList([recorder]).get_state() is None
