"""Real processes that hang: found by their real beats, killed where they are and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import curve_experiment
from tuning import run_experiment
from tuning.outcome import StudyOutcome, TrialState

pytestmark = pytest.mark.system

HEARTBEAT = 2.0
STOPPED, ASLEEP = 2e-3, 3e-3  # rates of those that hang in their third epoch, once: see `own_trainables.Hangs`


def run(folder: Path, trainable: str, rates: list[float], **changed: Any) -> StudyOutcome:
    fields: dict[str, Any] = {
        "trainable": f"tests.support.own_trainables:{trainable}",
        "objective": {"metric": "accuracy", "mode": "max"},
        "fixed": {"model.seconds_per_epoch": 0.2, "model.hung": str(folder / "hung")},
        "space": {"learning_rate": {"choice": rates}},
        "strategies": [{"kind": "grid"}],
        "test": False,
    }
    cluster = {"heartbeat_seconds": HEARTBEAT, **changed.pop("cluster", {})}
    spec = curve_experiment(folder, **{**fields, **changed, "cluster": cluster})
    (study,) = run_experiment(spec, progress=False).studies
    return study


def found_hangs(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """The logged hangs by trial."""
    lines = [record.getMessage() for record in caplog.records if record.name == "tuning.supervision.supervisor"]
    found = dict(line.split(": ", 1) for line in lines)
    assert len(found) == len(lines)
    return found


def test_a_process_that_is_stopped_or_sleeps_for_ever_is_found_and_its_trial_goes_on_from_its_checkpoint(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = run(tmp_path, "Hangs", [1e-3, STOPPED, ASLEEP], cluster={"max_concurrent": 3})
    assert len(list(tmp_path.glob("hung-*"))) == 2
    for trial in study.trials:
        assert trial.state is TrialState.COMPLETED
        assert [report.epoch for report in trial.reports] == [1, 2, 3, 4]
    found = found_hangs(caplog)
    assert found.keys() == {trial.id for trial in study.trials if trial.params["learning_rate"] != 1e-3}
    for message in found.values():
        assert "in epoch 3, step 0 (process stopped or hung); restarted from epoch 2" in message


def test_one_process_of_several_that_is_stopped_is_found(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = run(tmp_path, "HangsTogether", [STOPPED], cluster={"address": "auto", "gpus_per_trial": 2})
    assert len(list(tmp_path.glob("hung-*"))) == 1
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4]
    (message,) = found_hangs(caplog).values()
    assert "in epoch 3, step 0 (process stopped or hung); restarted from epoch 2" in message


def test_a_function_that_hangs_is_found_too(
    ray_session: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A function keeps no checkpoint, so its trial begins anew."""
    study = run(tmp_path, "hangs", [ASLEEP])
    assert [report.epoch for report in study.trials[0].reports] == [1, 2, 3, 4]
    (message,) = found_hangs(caplog).values()
    assert "in epoch 3, step 0 (process stopped or hung); restarted from epoch 0" in message
