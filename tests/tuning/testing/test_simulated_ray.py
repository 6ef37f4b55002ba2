"""Whole experiments on a simulated Ray: hours, faults and resumes in a second, and the same to the last digit twice."""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import (
    MINUTE,
    history,
    long_experiment,
    run_study,
    run_until_killed,
    tear_the_newest_snapshot,
    times,
)
from tests.support.specs import GRID
from tuning import run_experiment
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.testing.simulated_ray import SimulatedNode, SimulatedRay, simulated_ray

HOUR = 3600.0

Story = Callable[[Path], tuple[StudyOutcome, SimulatedRay]]


def run_twice(story: Story, folder: Path) -> tuple[StudyOutcome, SimulatedRay]:
    """It repeats exactly, whatever else has drawn from the process's own random numbers."""
    runs = []
    for number in range(2):
        random.seed(number)
        (folder / str(number)).mkdir()
        runs.append(story(folder / str(number)))
    (first, ray), (second, again) = runs
    assert history(first) == history(second)
    assert times(first) == times(second)
    assert [(seconds, method) for seconds, _, method in ray.calls] == [
        (seconds, method) for seconds, _, method in again.calls
    ]
    return first, ray


def grid(folder: Path, **changed: Any) -> Any:
    return long_experiment(folder, strategies=[dict(GRID)], **changed)


@pytest.mark.tune
def test_a_search_of_sixty_trials_takes_most_of_an_hour(tmp_path: Path) -> None:
    study, ray = search(tmp_path, trials=60)
    assert len(study.trials) == 60
    assert 0 < study.count(TrialState.STOPPED) < 60
    assert study.count(TrialState.STOPPED) + study.count(TrialState.COMPLETED) == 60
    assert len(ray.actors) == 4
    assert study.wall_seconds == pytest.approx(5.0 + study.epochs_trained * MINUTE / 4, abs=4 * MINUTE)


@pytest.mark.tune
def test_a_search_repeats_exactly(tmp_path: Path) -> None:
    study, _ = run_twice(functools.partial(search, trials=16), tmp_path)
    assert study.count(TrialState.STOPPED) > 0


def search(folder: Path, trials: int) -> tuple[StudyOutcome, SimulatedRay]:
    strategy = {"kind": "hyperopt_asha", "trials": trials, "initial_random": 8}
    return run_study(long_experiment(folder, strategies=[strategy], cluster={"max_concurrent": 4}))


@pytest.mark.tune
def test_a_budget_of_hours_of_device_time_is_kept_to_the_tick(tmp_path: Path) -> None:
    def budgeted(folder: Path) -> tuple[StudyOutcome, SimulatedRay]:
        endless = [{"kind": "random", "trials": None}]
        spec = long_experiment(folder, strategies=endless, budget={"device_hours": 7.5}, fixed=an_epoch_of(HOUR / 4))
        return run_study(spec, tick=300.0)

    study, _ = run_twice(budgeted, tmp_path)
    assert study.budget is not None
    assert study.budget.reached
    assert 7.5 * HOUR <= study.device_seconds <= 7.5 * HOUR + 2 * 300.0
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETED, TrialState.STOPPED}


def an_epoch_of(seconds: float) -> dict[str, float]:
    return {"model.seconds_per_epoch": seconds}


@pytest.mark.tune
def test_trials_of_a_lost_node_go_on_elsewhere(tmp_path: Path) -> None:
    def lose(folder: Path) -> tuple[StudyOutcome, SimulatedRay]:
        with simulated_ray(SimulatedNode("a", cpus=1), SimulatedNode("b", cpus=2), tick=15.0) as ray:
            ray.at(100.0, lambda: ray.lose("b", noticed_after=30.0))
            (study,) = run_experiment(grid(folder, cluster={"max_concurrent": None}), progress=False).studies
        return study, ray

    study, _ = run_twice(lose, tmp_path)
    assert study.count(TrialState.COMPLETED) == 3
    assert [(loss.node, loss.reported, loss.epoch) for loss in study.node_losses] == [("b", 1.0, 1.0)] * 2
    assert [[report.epoch for report in trial.reports] for trial in study.trials] == [[1.0, 2.0, 3.0, 4.0]] * 3


@pytest.mark.tune
@pytest.mark.parametrize("frozen", [False, True])
def test_a_process_that_hangs_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, frozen: bool) -> None:
    def hang(folder: Path) -> tuple[StudyOutcome, SimulatedRay]:
        with simulated_ray(tick=15.0) as ray:
            ray.at(100.0, lambda: ray.hang(ray.actors[0], frozen=frozen))
            spec = grid(folder, cluster={"heartbeat_seconds": 90})
            (study,) = run_experiment(spec, progress=False).studies
        return study, ray

    study, ray = run_twice(hang, tmp_path)
    assert study.count(TrialState.COMPLETED) == 3
    assert len(ray.actors) == 3
    assert len([line for line in caplog.messages if "no progress for " in line and " in epoch 2" in line]) == 2


@pytest.mark.tune
def test_a_resume_goes_on_from_the_snapshot_before_a_torn_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def tear(folder: Path) -> tuple[StudyOutcome, SimulatedRay]:
        spec = grid(folder)
        killed = run_until_killed(spec, "train", 7)
        tear_the_newest_snapshot(spec)
        return run_study(spec, resume=True, passed=killed.seconds)

    with caplog.at_level(logging.WARNING):
        study, _ = run_twice(tear, tmp_path)
    undisturbed, _ = run_study(grid(tmp_path / "calm"))
    assert study.state is StudyState.FINISHED
    assert history(study) == history(undisturbed)
    assert [line for line in caplog.messages if "is damaged" in line and "going on from snapshot-" in line]


@pytest.mark.ray
def test_real_ray_works_in_the_same_process_after_a_simulation_and_beside_one(
    ray_session: None, tmp_path: Path
) -> None:
    simulated, _ = run_study(grid(tmp_path / "simulated"))
    spec = grid(tmp_path / "real", fixed=an_epoch_of(0.0))
    (real,) = run_experiment(spec, progress=False).studies
    scores = [[report.metrics for trial in study.trials for report in trial.reports] for study in (simulated, real)]
    assert scores[0] == scores[1]
