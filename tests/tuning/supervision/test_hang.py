"""Processes that hang: stopped ones and endless sleeps are found by their heartbeats and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables.heartbeat import Beat
from tuning import load_spec, run_experiment
from tuning.outcome import StudyOutcome, TrialState
from tuning.run.hung import Watch

HEARTBEAT = 2.0


def run(folder: Path, trainable: str, rates: list[float], **changed: Any) -> StudyOutcome:
    """So many trials on two slots; those whose rates are 2e-3 and 3e-3 hang in their third epoch, once."""
    raw = {
        "name": "hangs",
        "trainable": f"tests.support.own_trainables:{trainable}",
        "task": "reviews",
        "epochs": 4,
        "objective": {"metric": "accuracy", "mode": "max"},
        "fixed": {"model.seconds_per_epoch": 0.2, "model.hung": str(folder / "hung")},
        "space": {"learning_rate": {"choice": rates}},
        "strategies": [{"kind": "grid"}],
        "cluster": {"storage": str(folder), "max_concurrent": 2, "heartbeat_seconds": HEARTBEAT},
        "test": False,
    }
    (study,) = run_experiment(load_spec({**raw, **changed}), progress=False).studies
    return study


@pytest.mark.ray
def test_one_process_of_several_that_hangs_is_found(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = {"address": "auto", "storage": str(tmp_path), "gpus_per_trial": 2, "max_concurrent": 1}
    cluster["heartbeat_seconds"] = HEARTBEAT
    study = run(tmp_path, "HangsTogether", [2e-3, 3e-3], max_failures=1, cluster=cluster)
    assert len(list(tmp_path.glob("hung-*"))) == 2
    assert [[report.epoch for report in trial.reports] for trial in study.trials] == [[1, 2, 3, 4]] * 2
    told = [record.getMessage() for record in caplog.records if record.name == "tuning.run.controller"]
    assert len(told) == 2
    for message in told:
        assert "in epoch 3, step 0 (process stopped or hung); restarted from epoch 2" in message


@pytest.mark.ray
def test_a_process_that_hangs_is_found_and_its_trial_goes_on_from_its_checkpoint(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = run(tmp_path, "Hangs", [1e-3, 2e-3, 3e-3])  # once, that needs no max_failures
    assert len(list(tmp_path.glob("hung-*"))) == 2
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED] * 3
    for trial in study.trials:
        assert [report.epoch for report in trial.reports] == [1, 2, 3, 4]
    told = dict(record.getMessage().split(": ") for record in caplog.records if record.name == "tuning.run.controller")
    assert told.keys() == {trial.id for trial in study.trials if trial.params["learning_rate"] != 1e-3}
    for message in told.values():
        assert "in epoch 3, step 0 (process stopped or hung); restarted from epoch 2" in message


@pytest.mark.ray
@pytest.mark.parametrize(("allowed", "times"), [(0, 2), (1, 3)])
def test_a_function_that_hangs_again_says_why_it_has_failed(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, allowed: int, times: int
) -> None:
    study = run(tmp_path, "hangs", [1e-3, 4e-3], max_failures=allowed)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED, TrialState.FAILED]
    error = study.trials[1].error
    assert error is not None
    assert error.startswith("NoProgress: no progress for ")
    told = "in epoch 3, step 0 (process stopped or hung)"
    assert f"{told}; not restarted again: raise max_failures to allow that" in error
    assert sum(told in record.getMessage() for record in caplog.records) == times


@pytest.mark.ray
def test_trainings_that_hang_after_the_search_are_found_and_start_once_more(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    confirm = {"top": 2, "seeds": 2}
    fixed = {"model.seconds_per_epoch": 1.2, "model.hung": str(tmp_path / "hung")}  # a beat tells of the first epoch
    study = run(tmp_path, "HangsAfterwards", [1e-3, 3e-3], epochs=2, fixed=fixed, confirm=confirm, test=True)
    *whole, failed = sorted(study.confirmations, key=lambda c: c.error is not None)
    assert failed.seed == 1001
    assert failed.schedule[0].params["learning_rate"] == 3e-3
    assert (failed.error or "").startswith("NoProgress: no progress for ")
    assert "in epoch 2, step 0 (process stopped or hung)" in (failed.error or "")
    assert all(c.validation and c.error is None for c in whole)
    assert all(c.device_seconds > HEARTBEAT for c in whole if c.seed == 1000)  # the time in which they hung, too
    assert [(c.seed, c.test is not None) for c in study.confirmed()] == [(1000, True), (1001, True)]
    told = [record.getMessage() for record in caplog.records if record.name == "tuning.finish.side_by_side"]
    assert len(told) == 4  # two were stopped, one waited in vain, one did so at the test split
    assert sum(message.startswith("test of grid, seed 0, no. ") for message in told) == 1
    assert all("(process stopped or hung). It starts again" in message for message in told)


def beat(number: int, quiet: float, *, begun: bool = True) -> Beat:
    return Beat(number, "node", 1, quiet, begun, 1.0, 14)


def hung_after(watch: Watch, beats: list[Beat | None], *, step: float = 1.0) -> int | None:
    """How many looks pass until the actor hangs that tells these, one per look; None: it never does."""
    for number, told in enumerate(beats):
        if found := watch.look(number * step, {"actor": {} if told is None else {0: told}}):
            (one,) = found
            assert one.actor == "actor"
            return number
    return None


@pytest.mark.unit
def test_silence_and_standing_still_both_count() -> None:
    assert hung_after(Watch(60), [beat(1, 0.0)] * 100) == 60
    assert hung_after(Watch(60), [beat(n, float(n)) for n in range(100)]) == 60
    assert hung_after(Watch(60), [beat(n, n % 50) for n in range(1000)]) is None


@pytest.mark.unit
def test_a_process_that_is_stopped_right_after_its_report_has_begun_though_no_beat_says_so() -> None:
    old = beat(1, 0.0, begun=False)
    told = Watch(4.0)
    told.look(0.0, {"actor": {0: old}})
    told.reported("actor")
    (found,) = [one for now in range(1, 6) for one in told.look(now, {"actor": {0: old}})][:1]
    assert found.describe(2.0) == "no progress for 4 s in epoch 3, step 0 (process stopped or hung)"
    reset = Watch(4.0)  # the process gets another trial: its newer beats count
    reset.look(0.0, {"actor": {0: old}})
    reset.reported("actor")
    newer = [beat(number, float(number - 4), begun=False) for number in range(4, 20)]
    assert hung_after(reset, [*newer]) is None


@pytest.mark.unit
def test_before_the_first_step_there_is_more_time() -> None:
    assert hung_after(Watch(60), [None] * 1000) == 600
    assert hung_after(Watch(120), [beat(n, float(n), begun=False) for n in range(2000)]) == 1200
    slow = [beat(n, float(n), begun=False) for n in range(500)]
    assert hung_after(Watch(60), [*slow, *(beat(500 + n, 0.0) for n in range(100))]) is None


@pytest.mark.unit
def test_a_process_that_is_stopped_before_its_first_step_is_found_by_its_silence() -> None:
    last = beat(2, 0.0, begun=False)
    assert hung_after(Watch(2), [beat(1, 0.0, begun=False), *[last] * 1000]) == 61
    assert hung_after(Watch(120), [beat(1, 0.0, begun=False), *[last] * 1000]) == 121


@pytest.mark.unit
def test_a_driver_that_was_asleep_itself_does_not_blame_the_trials() -> None:
    watch = Watch(60)
    assert watch.look(0.0, {"actor": {0: beat(1, 0.0)}}) == []
    assert watch.look(3600.0, {"actor": {0: beat(1, 0.0)}}) == []
    assert watch.look(3601.0, {"actor": {0: beat(2, 1.0)}}) == []


@pytest.mark.unit
def test_one_of_several_processes_that_hangs_is_enough_and_it_is_told_where() -> None:
    watch = Watch(60)
    for second in range(60):
        assert watch.look(float(second), {"actor": {0: beat(second, 0.0), 1: beat(1, 0.0)}}) == []
    (one,) = watch.look(60.0, {"actor": {0: beat(60, 0.0), 1: beat(1, 0.0)}})
    assert one.describe() == "no progress for 60 s in epoch 2, step 14 (process stopped or hung)"
