"""The numbers of live progress, without Ray: work done, time left, the best score so far."""

from __future__ import annotations

import pytest

from trainables.spec import Objective, Params
from tuning.outcome import TrialState
from tuning.study.progress_state import ProgressState, duration, short_params

pytestmark = pytest.mark.unit


ACCURACY = Objective(metric="accuracy", mode="max")


LOSS = Objective(metric="loss", mode="min")


def state(trials: int = 2, epochs: float = 4, objective: Objective = ACCURACY) -> ProgressState:
    return ProgressState(trials, epochs, objective, started=100.0)


def test_work_is_counted_in_epochs_of_all_trials() -> None:
    study = state()
    assert (study.epochs_done, study.epochs_total, study.share) == (0, 8, 0)
    study.start(0, {})
    study.report(0, 1.0, 0.5, {})
    study.report(0, 2.0, 0.6, {})
    assert (study.epochs_done, study.epochs_total, study.share) == (2, 8, 0.25)


def test_the_time_left_follows_the_pace_so_far() -> None:
    study = state()
    assert study.seconds_left(now=110.0) is None
    study.start(0, {})
    study.report(0, 2.0, 0.5, {})
    assert study.seconds_left(now=110.0) == pytest.approx(30.0)


def test_a_trial_that_ends_early_gives_its_epochs_back() -> None:
    study = state()
    study.start(0, {})
    study.report(0, 1.0, 0.5, {})
    study.end(0)
    assert study.epochs_total == 5
    assert study.row(0).state is TrialState.STOPPED


def test_a_trial_with_a_horizon_of_its_own_is_complete_there() -> None:
    study = state()
    study.start(0, {"num_train_epochs": 2})
    assert study.epochs_total == 6
    study.report(0, 2.0, 0.5, {})
    study.end(0)
    assert study.row(0).state is TrialState.COMPLETED


def test_a_failed_trial_is_reported_as_failed_wherever_it_stood() -> None:
    study = state()
    study.start(0, {})
    study.end(0, failed=True)
    study.start(1, {})
    study.report(1, 4.0, 0.5, {})
    study.end(1, failed=True)
    assert study.counts() == {TrialState.FAILED: 2}
    assert study.epochs_total == 4
    assert study.share == 1.0


def test_work_that_an_earlier_run_did_does_not_flatter_the_pace() -> None:
    study = state(trials=1)
    study.start(0, {}, epoch=3.0)
    study.report(0, 3.5, 0.5, {})
    assert study.seconds_left(now=110.0) == pytest.approx(10.0)


def test_an_exploit_back_to_an_earlier_epoch_costs_time_again() -> None:
    study = state(trials=1)
    study.start(0, {})
    study.report(0, 2.0, 0.5, {})
    study.start(0, {}, epoch=1.0)
    study.report(0, 2.0, 0.6, {})
    assert study.epochs_done == 2
    assert study.seconds_left(now=103.0) == pytest.approx(2.0)  # 3 epochs were trained, 2 are left


@pytest.mark.parametrize(("objective", "best"), [(ACCURACY, 0.9), (LOSS, 0.2)])
def test_best_follows_the_objectives_direction(objective: Objective, best: float) -> None:
    study = state(objective=objective)
    study.start(0, {})
    for epoch, score in enumerate((0.2, 0.9, 0.5), start=1):
        study.report(0, epoch, score, {})
    assert study.best == study.row(0).best == best
    assert study.row(0).last == 0.5


def test_the_rows_hold_all_running_trials_then_the_best_and_the_newest() -> None:
    study = state(trials=20)
    for number in range(10):
        study.start(number, {})
        study.report(number, 4.0, number / 10, {})
        study.end(number)
    study.start(10, {})
    study.start(11, {})
    study.report(11, 1.0, 0.05, {})
    assert [row.number for row in study.rows(6)] == [9, 8, 7, 6, 11, 10]
    assert len(study.rows(100)) == 12


def test_names_are_short_and_numbers_have_four_digits() -> None:
    params: Params = {"learning_rate": 5.123456e-5, "per_device_train_batch_size": 16, "model.hidden_dropout_prob": 0.1}
    assert short_params(params) == "lr=5.123e-05 bs=16 hidden_dropout_prob=0.1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (40, "40 s"), (89, "89 s"), (120, "2 min"), (5400, "1 h 30 min"), (11100, "3 h 5 min")],
)
def test_durations_are_shown_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_values_that_are_the_same_for_all_trials_are_not_shown() -> None:
    study = state()
    study.start(0, {"learning_rate": 0.5})
    study.report(0, 1.0, 0.5, {"learning_rate": 0.25, "weight_decay": 0.0, "optim": "sgd"})
    assert study.row(0).params == "lr=0.25"
