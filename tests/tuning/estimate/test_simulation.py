"""An experiment in virtual time takes what its trials take, on as many slots as asked; known answers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.paces import costs
from tests.support.specs import curve_fields
from trainables.learning_curve import LearningCurve
from trainables.spec import TRAININGS
from tuning.estimate.simulation import SimulatedRun, simulate
from tuning.outcome import TrialState
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.tune

SLACK = 2.0  # seconds that Tune takes between events of a study


def reviews(**changed: Any) -> ExperimentSpec:
    """Returns an experiment that is only read: its trials are never computed."""
    space = {"learning_rate": {"loguniform": [1e-5, 1e-3]}}
    fields = {"trainable": "finetune", "epochs": 2, "space": space, "cluster": {"gpus_per_trial": 0}, "test": False}
    return load_spec(curve_fields("runs", **{**fields, **changed}))


def wall_seconds(run: SimulatedRun) -> list[float]:
    return [study.wall_seconds for study in run.outcome.studies]


def test_four_trials_on_two_slots_take_two_turns() -> None:
    run = simulate(reviews(strategies=[{"kind": "random", "trials": 4}]), costs(), 2, 1.0)
    # A process starts in 3 s; a trial is built in 5 s, and has two epochs of 100 s with an evaluation of 10 s each.
    assert wall_seconds(run) == [pytest.approx(3 + 2 * (5 + 2 * 110), abs=SLACK)]
    (study,) = run.outcome.studies
    assert study.count(TrialState.COMPLETED) == 4
    assert study.device_seconds == pytest.approx(2 * study.wall_seconds)


@pytest.mark.parametrize(("slots", "turns"), [(1, 4), (3, 2), (8, 1)])
def test_more_slots_take_fewer_turns(slots: int, turns: int) -> None:
    run = simulate(reviews(strategies=[{"kind": "random", "trials": 4}]), costs(), slots, 1.0)
    assert wall_seconds(run) == [pytest.approx(3 + turns * 225, abs=SLACK)]


def test_a_slower_machine_takes_longer_and_a_device_of_half_a_trial_costs_half() -> None:
    spec = reviews(strategies=[{"kind": "random", "trials": 2}])
    run = simulate(spec, costs(), 2, 0.5, factor=2.0)
    assert wall_seconds(run) == [pytest.approx(3 + 2 * 225, abs=SLACK)]
    (study,) = run.outcome.studies
    assert study.device_seconds == pytest.approx(study.wall_seconds)


def test_asha_stops_trials_and_other_luck_stops_others() -> None:
    asha = {"kind": "random_asha", "trials": 12, "reduction_factor": 2}
    stopped = []
    for luck in range(3):
        (study,) = simulate(reviews(epochs=4, strategies=[asha]), costs(), 2, 1.0, luck=luck).outcome.studies
        stopped.append([trial.state is TrialState.STOPPED for trial in study.trials])
    assert all(3 <= sum(one) <= 11 for one in stopped)
    assert len({tuple(one) for one in stopped}) > 1
    again = simulate(reviews(epochs=4, strategies=[asha]), costs(), 2, 1.0, luck=2).outcome.studies[0]
    assert [trial.state is TrialState.STOPPED for trial in again.trials] == stopped[2]


def test_a_population_takes_turns_and_waits_for_its_generations() -> None:
    run = simulate(reviews(strategies=[{"kind": "pbt", "population": 4}]), costs(), 2, 1.0)
    # Two turns of each generation; a member that copies another is built anew.
    (seconds,) = wall_seconds(run)
    assert seconds + SLACK >= 3 + 2 * (5 + 2 * 110)
    assert seconds <= 3 + 2 * (5 + 2 * 110) + 4 * 5 + SLACK


@pytest.mark.parametrize("kind", ["pbt", "pb2"])
def test_members_that_do_not_wait_take_no_turns(kind: str) -> None:
    """Three members on two slots: those that wait need two turns of each generation, the second for one of them."""
    wall = {}
    for synchronous in (True, False):
        strategy = {"kind": kind, "population": 3, "synchronous": synchronous}
        (wall[synchronous],) = wall_seconds(simulate(reviews(epochs=4, strategies=[strategy]), costs(), 2, 1.0))
    assert wall[False] < 0.9 * wall[True]


def test_what_is_known_of_the_space_is_known_in_virtual_time() -> None:
    strategies = [
        {"kind": "random", "trials": 2},
        {"kind": "random", "label": "control", "trials": 2, "informed": False},
    ]
    run = simulate(reviews(strategies=strategies, points=[{"learning_rate": 5e-4}]), costs(), 2, 1.0)
    first = {study.strategy: study.trials[0].params["learning_rate"] for study in run.outcome.studies}
    assert first["random"] == 5e-4 != first["control"]


def test_a_budget_of_time_ends_a_study_and_one_of_epochs_too() -> None:
    endless = [{"kind": "random", "trials": None}]
    (study,) = simulate(reviews(strategies=endless, budget={"device_seconds": 1000}), costs(), 4, 1.0).outcome.studies
    assert study.budget is not None
    assert study.budget.reached
    assert study.wall_seconds == pytest.approx(250, abs=15)
    (study,) = simulate(reviews(strategies=endless, budget={"epochs": 10}), costs(), 4, 1.0).outcome.studies
    assert study.epochs_trained == pytest.approx(10, abs=4)


def test_confirmations_and_evaluations_on_test_are_in_it() -> None:
    confirmed = reviews(strategies=[{"kind": "random", "trials": 2}], confirm={"top": 2, "seeds": 2}, test=True)
    run = simulate(confirmed, costs(), 2, 1.0)
    (study,) = run.outcome.studies
    assert len(study.confirmations) == 4
    for training in study.confirmations:  # each up to the epoch that it was chosen by
        assert training.device_seconds == pytest.approx(5 + training.epoch * 110, abs=SLACK)
    assert sum(one.test is not None for one in study.confirmations) == 2
    # Two turns of them; then two models are built and scored on 1,000 rows, where 400 take 10 s.
    assert run.seconds > study.wall_seconds + 2 * 115 + 5 + 25


def test_the_formula_is_simulated_as_it_is(tmp_path: Path) -> None:
    grid = [{"kind": "grid", "points": 4}]
    spec = load_spec(curve_fields(tmp_path, strategies=grid, fixed={"model.seconds_per_epoch": 60}, test=False))
    run = simulate(spec, costs(), 2, 1.0)
    assert wall_seconds(run) == [pytest.approx(3 + 2 * 4 * 60, abs=SLACK)]
    (study,) = run.outcome.studies
    rates = {trial.params["learning_rate"]: trial.reports[-1].metrics["accuracy"] for trial in study.trials}
    for rate, accuracy in rates.items():
        training = LearningCurve({"learning_rate": rate}, spec.trial_spec(0))
        assert training.advance(4).metrics["accuracy"] == pytest.approx(accuracy)


def test_nothing_of_a_simulation_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(threading.enumerate())
    simulate(reviews(strategies=[{"kind": "random", "trials": 1}]), costs(), 2, 1.0)
    assert list(tmp_path.iterdir()) == []
    assert set(TRAININGS) == {"finetune", "learning_curve"}
    assert {thread for thread in set(threading.enumerate()) - before if not thread.daemon} == set()
