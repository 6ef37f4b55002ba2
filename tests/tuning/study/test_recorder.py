"""The recorder in real Tune runs: every state, clones, a resume, a store that breaks."""

from __future__ import annotations

import math
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from trainables.reporting import Report
from trainables.spec import FineTuneSpec, Objective
from tuning.outcome import Exploit, TrialState
from tuning.run.recorder import Recorder
from tuning.space import Space
from tuning.store.study_store import StoreError, StudyStore, StudyWriter, sqlite_url

ACCURACY = Objective(metric="accuracy", mode="max")
SPACE = Space.model_validate({"learning_rate": {"loguniform": [1e-6, 1.0]}})
SPEC = FineTuneSpec(trainable="learning_curve", task="reviews", epochs=4, objective=ACCURACY)


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return StudyStore(sqlite_url(tmp_path / "study.db"))


def open_study(store: StudyStore) -> StudyWriter:
    return store.open_study(
        experiment="e", digest="d", strategy="asha", kind="hyperopt_asha", seed=0, objective=ACCURACY, slots=1,
        devices_per_trial=1.0, device="CPU core", attributes={}, spec_yaml="epochs: 4",
    )  # fmt: skip


def run(recorder: Recorder, folder: Path, rates: list[Any], **changed: Any) -> None:
    """A Tune run of the closed-form trial, one learning rate after the other in one slot."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    from trainables.slot import make_trainable

    asha = ASHAScheduler(
        time_attr="epoch", metric="metrics/accuracy", mode="max", max_t=4, grace_period=1, reduction_factor=2
    )
    settings: dict[str, Any] = {
        "run_or_experiment": make_trainable(SPEC, devices=1.0),
        "config": {"learning_rate": tune.grid_search(rates)},
        "scheduler": asha,
        "max_concurrent_trials": 1,
        "resources_per_trial": {"cpu": 1},
        "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1),
        "reuse_actors": True,
        "callbacks": [recorder],
        "name": "study",
        "storage_path": str(folder),
        "verbose": 0,
        "raise_on_failed_trial": False,
    }
    tune.run(**{**settings, **changed})


@pytest.mark.ray
def test_completed_stopped_and_failed_trials_are_told_apart(
    ray_session: None, store: StudyStore, tmp_path: Path
) -> None:
    recorder = Recorder(open_study(store), SPACE)
    run(recorder, tmp_path / "runs", [1e-3, 1e-5, 0.9, "high"])
    study = store.load("e").studies[0]
    best, poor, diverged, broken = study.trials
    assert recorder.ended == 4

    assert best.state is TrialState.COMPLETED
    assert [r.epoch for r in best.reports] == [1, 2, 3, 4]
    assert best.reports[-1].metrics["accuracy"] == pytest.approx(1 - math.exp(-2))
    assert best.reports[-1].params == best.params == {"learning_rate": 1e-3}
    assert all(any(Path(path).glob("state-*/curve.json")) for path in best.checkpoints.values())
    assert list(best.checkpoints) == [1, 2, 3, 4]

    assert (poor.state, len(poor.reports)) == (TrialState.STOPPED, 1)

    assert (diverged.state, diverged.reports) == (TrialState.FAILED, ())
    assert diverged.error is not None
    assert diverged.error.startswith("NonFiniteScore: accuracy is nan at epoch 1 with learning_rate=0.9")
    traceback = Path(diverged.error.rpartition("(traceback: ")[2].removesuffix(")"))
    assert "NonFiniteScore" in traceback.read_text()

    assert broken.state is TrialState.FAILED  # before it ever started
    assert broken.error is not None
    assert broken.error.startswith("ValueError: could not convert string to float: 'high'")
    assert 0 < study.device_seconds < 600


@pytest.mark.ray
def test_a_function_that_reports_nothing_has_failed_whatever_tune_says(
    ray_session: None, store: StudyStore, tmp_path: Path
) -> None:
    def silent(config: dict[str, Any]) -> None:
        pass

    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    recorder, plain = Recorder(open_study(store), SPACE), tune.CheckpointConfig()
    folder = tmp_path / "runs"
    run(recorder, folder, [0.1], run_or_experiment=silent, scheduler=FIFOScheduler(), checkpoint_config=plain)
    (trial,) = store.load("e").studies[0].trials
    assert (trial.state, (trial.error or "")[:22]) == (TrialState.FAILED, "ended without a report")


@pytest.mark.ray
@pytest.mark.parametrize("table", ["trial_user_attributes", "study_user_attributes", "trial_values"])
def test_a_store_that_cannot_be_written_stops_the_run(
    ray_session: None, store: StudyStore, tmp_path: Path, table: str
) -> None:
    """A report, a checkpoint and an end: Tune itself swallows what its hooks for the last two raise."""
    writer = open_study(store)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute(f"alter table {table} rename to gone")

    def as_the_runner_does() -> None:
        run(Recorder(writer, SPACE), tmp_path / "runs", [1e-3])
        writer.finish()  # a run this short may end before Tune takes a snapshot

    with pytest.raises(Exception, match="study store sqlite:"):
        as_the_runner_does()


@pytest.mark.ray
def test_a_resumed_run_doubles_nothing_and_finished_trials_stay(
    ray_session: None, store: StudyStore, tmp_path: Path
) -> None:
    from ray.tune.schedulers import FIFOScheduler

    first = Recorder(open_study(store), SPACE)
    crashing = [first, plug_puller(after=6)]
    with pytest.raises(Exception, match="pulled the plug"):
        run(first, tmp_path / "runs", [1e-3, 2e-3], scheduler=FIFOScheduler(), callbacks=crashing)
    writer = open_study(store)
    assert len(writer.ended()) == 1
    writer.begin_trial("lost", {"learning_rate": 0.5}, {})  # began after Tune's last snapshot
    second = Recorder(writer, SPACE)
    run(second, tmp_path / "runs", [1e-3, 2e-3], scheduler=FIFOScheduler(), resume="AUTO")
    second.end_unsaved()
    assert second.ended == 2  # the lost one is not a trial that was asked for

    trials = store.load("e").studies[0].trials
    assert [t.state for t in trials] == [TrialState.COMPLETED, TrialState.COMPLETED, TrialState.FAILED]
    assert [[r.epoch for r in t.reports] for t in trials[:2]] == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert "lost in an interruption" in (trials[2].error or "")


def plug_puller(after: int) -> Any:
    """A callback that breaks Tune's loop at the n-th result, as a crash of the driver would."""
    from ray.tune import Callback

    class Pulls(Callback):  # type: ignore[misc]
        seen = 0

        def on_trial_result(self, *args: Any, **info: Any) -> None:
            self.seen += 1
            if self.seen == after:
                raise RuntimeError("pulled the plug")

    return Pulls()


class FakeTrial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.config = {"learning_rate": 0.1}


def tell(recorder: Recorder, trial: Any, epoch: float) -> None:
    """A result, as Tune hands it to callbacks: nested, and after the scheduler had its turn."""
    report = Report(epoch, {"accuracy": 0.5}, trial.config, 1.0, 0.0)
    recorder.on_trial_result(0, [], trial, report.to_result())


@pytest.mark.unit
def test_what_a_slot_has_to_say_of_damaged_states_is_said_by_the_driver(
    store: StudyStore, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, trial = Recorder(open_study(store), SPACE), FakeTrial("a")
    recorder.on_trial_start(0, [trial], trial)
    result = Report(1, {"accuracy": 0.5}, trial.config, 1.0, 0.0).to_result()
    recorder.on_trial_result(0, [], trial, {**result, "said": ["weights are damaged: not used"]})
    assert [record.getMessage() for record in caplog.records] == ["a: weights are damaged: not used"]


@pytest.mark.unit
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
    _, clone = store.load("e").studies[0].trials
    assert [r.epoch for r in clone.reports] == [1, 2]
    assert [(x.reports, x.donor_reports) for x in clone.lineage] == [(1, 1)]


@pytest.mark.unit
def test_a_recorder_pickles_without_its_store_and_waits_for_a_new_one(tmp_path: Path, store: StudyStore) -> None:
    recorder = Recorder(open_study(store), SPACE)
    pickled = pickle.dumps(recorder)
    assert b"study.db" not in pickled
    with pytest.raises(StoreError, match="attach a writer"):
        pickle.loads(pickled).setup()
    again = pickle.loads(pickled)
    again.attach(open_study(store))
    again.on_trial_start(0, [], FakeTrial("a"))
    assert len(store.load("e").studies[0].trials) == 1


@pytest.mark.unit
def test_a_snapshot_holds_how_far_each_trial_is_and_nothing_else(store: StudyStore) -> None:
    recorder = Recorder(open_study(store), SPACE)
    recorder.on_trial_start(0, [], FakeTrial("a"))
    tell(recorder, FakeTrial("a"), 1)
    assert recorder.get_state() == {"positions": {"a": 1}}
