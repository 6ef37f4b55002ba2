"""Of every strategy, a study that is cut off and resumed ends as if nothing had happened, wherever that was.

In virtual time. What signals and kill -9 do to real drivers is in test_resume.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.outcomes import known_to_tune
from tests.support.power_cuts import COSTS, Film, in_virtual_time
from tests.support.stopped_runs import (
    PLANNED,
    STRATEGIES,
    check_no_saved_epoch_was_computed_again,
    check_nothing_was_repeated,
    memory_of,
    outcomes,
    spec_of,
)
from tests.support.strategies import installed_kinds
from trainables.spec import Objective
from tuning import load_spec, run_experiment
from tuning.errors import Interrupted
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.space import Space
from tuning.strategies import Plan
from tuning.strategies.hyperopt_asha import HyperOptAsha
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune

MOMENTS, OF_MUCH = 4, 10  # of each strategy; of one whose decisions rest on much that is saved


def raw_of(folder: Path, strategy: str) -> dict[str, Any]:
    return spec_of(folder, strategy, seconds_per_epoch=10.0, checkpoint={"every_epochs": 1})


def test_every_strategy_is_among_them() -> None:
    assert {plug_in["kind"] for plug_in in STRATEGIES.values()} == set(installed_kinds())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_study_ends_as_if_nothing_had_happened_wherever_it_is_cut_off(strategy: str, tmp_path: Path) -> None:
    """Of each second moment nothing is left in memory, as of a machine that is lost."""
    film = Film(raw_of(tmp_path / "storage", strategy), tmp_path / "aside")
    (expected,) = film.shoot().studies
    (folder,) = film.studies
    much = STRATEGIES[strategy]["kind"] in ("optuna", "custom", "pbt", "pb2")
    for number, moment in enumerate(film.spread(OF_MUCH if much else MOMENTS)):
        lost = bool(number % 2)
        with named(f"moment {moment.number}, before {moment.before}{', memory lost' if lost else ''}"):
            recorded = film.bring_back(moment)
            saved = film.saved()
            if lost:
                film.lose_the_memory()
            (after,) = film.resume().studies
            check_as_undisturbed(after, expected)
            if recorded is not None:
                (before,) = recorded.studies
                check_nothing_was_repeated(before, after, graceful=False)
                if not lost:  # states that are gone are trained again
                    check_no_saved_epoch_was_computed_again(before, after, saved, len(film.computed))
            assert after.test is not None
            assert [str(path) for path in folder.glob("*/checkpoint_*")] == [after.test.checkpoint]
            assert not list(memory_of(folder).iterdir())
    film.forget()


def test_an_end_that_the_store_knows_and_no_snapshot_yet_costs_no_epoch(tmp_path: Path) -> None:
    """Such a trial lives again, and finds the state that it has left: that was given up as nobody's."""
    film = Film(raw_of(tmp_path / "storage", "grid"), tmp_path / "aside", every=1)
    film.shoot()
    ended = 0
    for moment in film.moments:
        recorded = film.recorded(moment)
        if recorded is None or recorded.studies[0].count(TrialState.COMPLETED) == ended:
            continue
        ended = recorded.studies[0].count(TrialState.COMPLETED)
        film.bring_back(moment)
        with named(f"moment {moment.number}, {ended} trials have ended"):
            saved = film.saved()
            (after,) = film.resume().studies
            check_no_saved_epoch_was_computed_again(recorded.studies[0], after, saved, len(film.computed))
    assert ended == PLANNED["grid"]
    film.forget()


@contextlib.contextmanager
def named(moment: str) -> Iterator[None]:
    """In the block, what is raised tells of which moment."""
    try:
        yield
    except Exception as error:
        error.add_note(moment)
        raise


def check_as_undisturbed(study: StudyOutcome, expected: StudyOutcome) -> None:
    assert study.state is StudyState.FINISHED
    assert outcomes(study) == outcomes(expected)
    assert len(outcomes(study)) == PLANNED[study.strategy]
    assert study.test is not None
    assert expected.test is not None
    assert study.test.metrics == expected.test.metrics


@pytest.mark.parametrize(
    ("strategy", "number"),
    [("grid", signal.SIGTERM), ("hyperopt_asha", signal.SIGHUP), ("pbt", signal.SIGINT)],
)
def test_a_study_that_is_asked_to_stop_loses_no_trial_and_no_report_that_was_saved(
    strategy: str, number: signal.Signals, tmp_path: Path
) -> None:
    stopped = Film(raw_of(tmp_path / "stopped", strategy), tmp_path / "none")
    with simulated_ray(costs=COSTS) as ray:
        ray.at(75.0, lambda: signal.raise_signal(number))
        with pytest.raises(Interrupted, match="everything is kept"):
            run_experiment(stopped.spec, progress=False)
    recorded = stopped.recorded()
    assert recorded is not None
    (before,), (after,) = recorded.studies, stopped.resume().studies
    assert before.state is StudyState.RUNNING
    assert sum(len(trial.reports) for trial in before.trials) >= 4
    check_nothing_was_repeated(before, after, graceful=True)
    check_as_undisturbed(after, in_virtual_time(load_spec(raw_of(tmp_path / "whole", strategy))).studies[0])


def decision(plan: Plan, trial_id: str, accuracy: float) -> str:
    """Returns the decision of the plan's scheduler on a report after one epoch."""
    trial = known_to_tune(trial_id)
    plan.scheduler.on_trial_add(None, trial)
    result = {"epoch": 1, "metrics/accuracy": accuracy, "training_iteration": 1}
    return str(plan.scheduler.on_trial_result(None, trial, result))


def test_a_restored_search_knows_whom_its_rungs_have_seen(tmp_path: Path) -> None:
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-2]}})

    def plan() -> Plan:
        return HyperOptAsha(trials=8).plan(space, Objective(metric="accuracy", mode="max"), 4, seed=0)

    first, second = plan(), plan()
    assert [decision(first, f"t{n}", 0.5 + n / 10) for n in range(3)] == ["CONTINUE"] * 3
    first.searcher.save(str(tmp_path / "searcher"))
    assert decision(plan(), "late", 0.1) == "CONTINUE"  # the first at an empty rung always goes on
    second.searcher.restore(str(tmp_path / "searcher"))
    assert decision(second, "late", 0.1) == "STOP"
