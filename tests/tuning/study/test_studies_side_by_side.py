"""Studies of one experiment share its slots: what one leaves free computes for the next ones."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import history, long_experiment, run
from tests.support.specs import GRID, HYPEROPT_ASHA, PBT
from tuning import run_experiment
from tuning.errors import Interrupted
from tuning.outcome import ExperimentOutcome, StudyOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.testing.simulated_ray import PowerCut, SimulatedNode, SimulatedRay, simulated_ray

pytestmark = pytest.mark.tune

SLOTS = 4
EPOCH = 10.0  # seconds
FIVE = [
    {"kind": "random", "trials": 6},
    {"kind": "random_asha", "trials": 6},
    {"kind": "hyperopt_asha", "trials": 6, "initial_random": 3},
    {"kind": "hyperopt", "trials": 6, "initial_random": 3},
    {"kind": "pbt", "population": 6},
]


def experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    return long_experiment(
        folder,
        **{
            "strategies": FIVE,
            "seeds": [0, 1, 2],
            "epochs": 3,
            "fixed": {"model.seconds_per_epoch": EPOCH},
            "cluster": {"max_concurrent": SLOTS, **changed.pop("cluster", {})},
            **changed,
        },
    )


def lasted(study: StudyOutcome) -> tuple[float, float]:
    """The time from the start of a study's first trial to its last report, in seconds since 1970."""
    reports = [report for trial in study.trials for report in trial.reports]
    return min(report.time for report in reports) - EPOCH, max(report.time for report in reports)


def work_of(outcome: ExperimentOutcome) -> float:
    """The seconds of training in all studies."""
    return sum(EPOCH for study in outcome.studies for trial in study.trials for _ in trial.reports)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentOutcome, SimulatedRay]:
    return run(experiment(tmp_path_factory.mktemp("filled")), SimulatedNode(cpus=SLOTS), tick=0.5)


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentOutcome, SimulatedRay]:
    spec = experiment(tmp_path_factory.mktemp("turns"), cluster={"fill_slots": False})
    return run(spec, SimulatedNode(cpus=SLOTS), tick=0.5)


def test_slots_are_in_use_from_the_first_step_until_the_last_trial_starts(
    filled: tuple[ExperimentOutcome, SimulatedRay],
) -> None:
    outcome, _ = filled
    reports = [(r.time - EPOCH, r.time) for study in outcome.studies for trial in study.trials for r in trial.reports]
    begins = [min(r.time for r in trial.reports) - EPOCH for study in outcome.studies for trial in study.trials]
    first, last = min(begins), max(begins)
    used = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in reports)
    assert used >= 0.95 * SLOTS * (last - first)


def test_an_experiment_takes_little_longer_than_its_work_divided_by_the_slots(
    filled: tuple[ExperimentOutcome, SimulatedRay], in_turn: tuple[ExperimentOutcome, SimulatedRay]
) -> None:
    (outcome, ray), (_, before) = filled, in_turn
    assert ray.seconds <= 1.15 * work_of(outcome) / SLOTS + 3 * EPOCH + 10.0
    assert ray.seconds < 0.85 * before.seconds


def test_processes_live_as_long_as_the_experiment(
    filled: tuple[ExperimentOutcome, SimulatedRay], in_turn: tuple[ExperimentOutcome, SimulatedRay]
) -> None:
    for _, ray in (filled, in_turn):
        assert len(ray.actors) == SLOTS
        assert not any(actor.alive for actor in ray.actors)


def test_every_study_has_all_of_its_trials(filled: tuple[ExperimentOutcome, SimulatedRay]) -> None:
    outcome, _ = filled
    assert len(outcome.studies) == 15
    for study in outcome.studies:
        assert len(study.trials) == 6
        assert {trial.state for trial in study.trials} <= {TrialState.COMPLETED, TrialState.STOPPED}


def test_every_slot_is_charged_once(filled: tuple[ExperimentOutcome, SimulatedRay]) -> None:
    outcome, ray = filled
    charged = sum(study.device_seconds for study in outcome.studies)
    assert work_of(outcome) <= charged <= SLOTS * ray.seconds
    assert charged == pytest.approx(SLOTS * ray.seconds, rel=0.05)


def test_a_study_is_charged_for_what_its_own_trials_hold(filled: tuple[ExperimentOutcome, SimulatedRay]) -> None:
    """Beside others it holds fewer slots for longer; what its trials take stays."""
    outcome, _ = filled
    for study in outcome.studies[1:]:
        assert study.slot_seconds is not None
        assert study.busy_device_seconds <= study.device_seconds + 1.0
        assert study.slot_seconds <= SLOTS * study.wall_seconds


@pytest.mark.parametrize("changed", [{"cluster": {"fill_slots": False}}, {"budget": {"wall_seconds": 60.0}}])
def test_a_switch_and_a_budget_of_wall_time_keep_studies_one_after_the_other(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    outcome, _ = run(experiment(tmp_path, seeds=[0], **changed), SimulatedNode(cpus=SLOTS), tick=0.5)
    times = sorted(lasted(study) for study in outcome.studies)
    assert all(ended <= begun + 1.0 for (_, ended), (begun, _) in itertools.pairwise(times))


def test_on_one_slot_results_do_not_depend_on_the_switch(tmp_path: Path) -> None:
    found = []
    for fills in (True, False):
        spec = experiment(
            tmp_path / str(fills), seeds=[0], cluster={"max_concurrent": 1, "fill_slots": fills}, data_order_seed=1
        )
        outcome, _ = run(spec, SimulatedNode(cpus=1))
        found.append({study.strategy: history(study) for study in outcome.studies})
    assert found[0] == found[1]


def test_values_of_random_searches_do_not_depend_on_what_runs_beside_them(
    filled: tuple[ExperimentOutcome, SimulatedRay], in_turn: tuple[ExperimentOutcome, SimulatedRay]
) -> None:
    for one, other in zip(filled[0].studies, in_turn[0].studies, strict=True):
        if one.strategy == "random":
            assert history(one) == history(other)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_driver_that_is_killed_while_studies_run_side_by_side_loses_nothing(tmp_path: Path, share: float) -> None:
    spec = experiment(tmp_path, seeds=[0, 1])
    with simulated_ray(SimulatedNode(cpus=SLOTS), tick=0.5) as ray:
        ray.at(share * 200.0, lambda: ray.end_driver(keeping=spec.run_folder))
        with pytest.raises(PowerCut):
            run_experiment(spec, progress=False)
    outcome, _ = run(spec, SimulatedNode(cpus=SLOTS), resume=True, passed=ray.seconds, tick=0.5)
    assert len(outcome.studies) == 10
    for study in outcome.studies:
        assert len(study.trials) == 6
        for trial in study.trials:
            epochs = [report.epoch for report in trial.reports]
            assert epochs == sorted(set(epochs))
            assert trial.state in (TrialState.COMPLETED, TrialState.STOPPED)


def test_a_signal_stops_all_studies_that_run_and_a_resume_ends_them(tmp_path: Path) -> None:
    spec = experiment(tmp_path, strategies=[GRID, PBT], seeds=[0])
    with simulated_ray(SimulatedNode(cpus=SLOTS), tick=0.5) as ray:
        ray.at(30.0, lambda: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Interrupted) as stopped:
            run_experiment(spec, progress=False)
    assert str(stopped.value).count("everything is kept") == len(str(stopped.value).splitlines()) > 1
    outcome, _ = run(spec, SimulatedNode(cpus=SLOTS), resume=True, passed=ray.seconds, tick=0.5)
    assert all(trial.state is TrialState.COMPLETED for study in outcome.studies for trial in study.trials)


def test_a_budget_ends_its_own_study_alone(tmp_path: Path) -> None:
    endless = [{"kind": "random", "trials": None}, {"kind": "pbt", "population": 8}, {**HYPEROPT_ASHA, "trials": None}]
    budget = {"device_seconds": 200.0}
    outcome, _ = run(
        experiment(tmp_path, strategies=endless, seeds=[0, 1], budget=budget), SimulatedNode(cpus=SLOTS), tick=0.5
    )
    for study in outcome.studies:
        assert study.budget is not None
        if study.budget.reached:
            assert 200.0 <= study.budget.spent <= 200.0 + 2 * SLOTS
    assert sum(study.budget.reached for study in outcome.studies if study.budget is not None) >= 4
