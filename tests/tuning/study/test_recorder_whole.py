"""The recorder in whole studies: every state, a resume, a store that breaks."""

from __future__ import annotations

import json
import math
import sqlite3
from pathlib import Path

import pytest

from tests.support.simulated_studies import MINUTE, long_experiment, run_study, run_until_killed
from tuning import run_experiment
from tuning.errors import RepeatedFailure
from tuning.outcome import StudyOutcome, TrialOutcome, TrialState
from tuning.spec.models import STORE_FILE
from tuning.store.study_store import StoreError, StudyStore
from tuning.testing.simulated_ray import simulated_ray

GRID = [{"kind": "grid", "points": 2}]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> StudyOutcome:
    """One trial after the other: good ones, poor ones, some that diverge, and some that fail as they are built."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "script.json").write_text(json.dumps({"0.002": ["built", "ValueError"]}))
    files = {"model.script": str(folder / "script.json"), "model.lives": str(folder / "lives")}
    spec = long_experiment(
        folder,
        trainable="tests.support.own_trainables:Raises",
        objective={"metric": "accuracy", "mode": "max"},
        space={"learning_rate": {"choice": [1e-3, 1e-5, 0.9, 0.002]}, "max_grad_norm": {"choice": [1.0, 2.0, 3.0]}},
        strategies=[{"kind": "random_asha", "trials": 10, "reduction_factor": 2}],
        seeds=[9],
        fixed={"model.seconds_per_epoch": MINUTE, **files},
        cluster={"max_concurrent": 1},
        alike_failures=None,
    )
    return run_study(spec)[0]


def of_rate(study: StudyOutcome, rate: float) -> list[TrialOutcome]:
    found = [trial for trial in study.trials if trial.params["learning_rate"] == rate]
    assert found
    return found


@pytest.mark.tune
def test_a_completed_trial_has_all_its_reports_and_a_checkpoint(mixed: StudyOutcome) -> None:
    for trial in of_rate(mixed, 1e-3):
        assert trial.state is TrialState.COMPLETED
        assert [report.epoch for report in trial.reports] == [1, 2, 3, 4]
        assert trial.reports[-1].metrics["accuracy"] == pytest.approx(1 - math.exp(-2))
        assert all(report.params["learning_rate"] == 1e-3 for report in trial.reports)
        assert all(any(Path(path).glob("*/curve.json")) for path in trial.checkpoints.values())
    assert any(trial.checkpoints for trial in of_rate(mixed, 1e-3))


@pytest.mark.tune
def test_a_trial_that_its_strategy_ends_is_stopped(mixed: StudyOutcome) -> None:
    first, *later = of_rate(mixed, 1e-5)
    assert first.state is TrialState.COMPLETED  # nobody was there yet to be better
    assert [(trial.state, len(trial.reports)) for trial in later] == [(TrialState.STOPPED, 1)]


@pytest.mark.tune
def test_a_trial_that_diverges_has_failed_and_says_with_what(mixed: StudyOutcome) -> None:
    for trial in of_rate(mixed, 0.9):
        assert (trial.state, trial.reports) == (TrialState.FAILED, ())
        assert trial.error is not None
        assert trial.error.startswith("NonFiniteScore: accuracy is nan at epoch 1 with ")
        assert "learning_rate=0.9" in trial.error
        traceback = Path(trial.error.rpartition("(traceback: ")[2].removesuffix(")"))
        assert "NonFiniteScore" in traceback.read_text()


@pytest.mark.tune
def test_a_trial_that_fails_before_it_has_started_is_recorded_too(mixed: StudyOutcome) -> None:
    for trial in of_rate(mixed, 0.002):
        assert trial.state is TrialState.FAILED
        assert trial.error is not None
        assert trial.error.startswith("ValueError: no column x")


@pytest.mark.tune
def test_a_study_costs_the_time_that_it_has_taken(mixed: StudyOutcome) -> None:
    trained = sum(report.device_seconds for trial in mixed.trials for report in trial.reports)
    assert trained < mixed.device_seconds < trained + len(mixed.trials) * 2 * MINUTE


@pytest.mark.ray
def test_a_function_that_reports_nothing_has_failed_whatever_tune_says(ray_session: None, tmp_path: Path) -> None:
    own = "tests.support.own_trainables:reports_nothing"
    spec = long_experiment(tmp_path, trainable=own, strategies=[{"kind": "grid", "points": 1}], fixed={})
    (study,) = run_experiment(spec, progress=False).studies
    (trial,) = study.trials
    assert (trial.state, (trial.error or "")[:22]) == (TrialState.FAILED, "ended without a report")
    four = spec.model_copy(
        update={"name": "four", "strategies": (spec.strategies[0].model_copy(update={"points": 4}),)}
    )
    with pytest.raises(
        RepeatedFailure, match="the first 3 trials failed alike: ended without a report; a trainable calls"
    ):
        run_experiment(four, progress=False)


@pytest.mark.tune
@pytest.mark.parametrize("table", ["trial_user_attributes", "study_user_attributes", "trial_values"])
def test_a_store_that_cannot_be_written_stops_the_run(tmp_path: Path, table: str) -> None:
    """A report, a checkpoint and an end: Tune itself swallows what its hooks for the last two raise."""
    spec = long_experiment(tmp_path, strategies=GRID)

    def break_the_store() -> None:
        with sqlite3.connect(spec.run_folder / STORE_FILE) as database:
            database.execute(f"alter table {table} rename to gone")

    with simulated_ray() as ray:
        ray.at(30.0, break_the_store)
        with pytest.raises(StoreError, match="study store sqlite:"):
            run_experiment(spec, progress=False)
    assert ray.seconds < 2 * 4 * MINUTE


@pytest.mark.tune
def test_a_trial_that_a_killed_driver_had_begun_and_nobody_proposes_again_is_lost(tmp_path: Path) -> None:
    spec = long_experiment(tmp_path, strategies=GRID, cluster={"max_concurrent": 1})
    killed = run_until_killed(spec, "train", 6)
    store = StudyStore(spec.store_url)
    (before,) = store.load(spec.name).studies
    assert before.count(TrialState.COMPLETED) == 1
    store.writer(spec.name, before).begin_trial("lost", {"learning_rate": 0.5}, {})
    study, _ = run_study(spec, resume=True, passed=killed.seconds)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETED, TrialState.COMPLETED, TrialState.FAILED]
    assert [[report.epoch for report in trial.reports] for trial in study.trials[:2]] == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert "lost in an interruption" in (study.trials[2].error or "")
