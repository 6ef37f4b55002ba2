"""A space with few configurations: what is proposed twice, and when a study ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import long_experiment, run_study
from tests.support.strategies import make, proposals
from tuning.outcome import StudyState
from tuning.space import Draws, Space
from tuning.strategies import find_strategies
from tuning.testing.plan_contract import OBJECTIVE

TWO = Space.model_validate({"learning_rate": {"choice": [1e-4, 1e-3]}})
LATTICE = Space.model_validate(
    {
        "per_device_train_batch_size": {"logint": [4, 64], "step": 4},
        "weight_decay": {"uniform": [0, 0.3], "step": 0.1},
        "adam_beta1": 0.9,
    }
)
PROPOSING = ("random", "random_asha", "random_moasha", "hyperopt", "hyperopt_asha", "optuna")


@pytest.mark.unit
def test_the_size_of_a_space_is_the_number_of_its_configurations() -> None:
    assert (TWO.size, LATTICE.size) == (2, 16 * 4)
    assert (
        Space.model_validate({"learning_rate": {"uniform": [0.1, 0.2]}, "warmup_steps": {"int": [0, 3]}}).size is None
    )
    assert Space.model_validate({"learning_rate": 0.1}).size == 1


@pytest.mark.unit
def test_a_finite_space_is_drawn_to_its_end_and_no_configuration_twice() -> None:
    drawn = list(Draws(LATTICE, seed=3))
    assert len(drawn) == 64
    assert len({repr(params) for params in drawn}) == 64
    assert all(map(LATTICE.contains, drawn))


@pytest.mark.unit
@pytest.mark.parametrize("kind", PROPOSING)
def test_a_search_plans_no_more_trials_than_there_are_configurations(kind: str) -> None:
    plan = make(kind, trials=6).plan(TWO, OBJECTIVE, 4.0, 0)
    assert plan.trials == 2
    assert sorted(params["learning_rate"] for params in proposals(plan)) == [1e-4, 1e-3]
    unending = make(kind, trials=None).plan(TWO, OBJECTIVE, 4.0, 0)
    assert (unending.trials, unending.most_trials) == (None, 2)
    assert make(kind, trials=6).planned_trials(LATTICE) == 6


@pytest.mark.unit
def test_in_a_finite_space_all_strategies_begin_with_the_same_distinct_draws() -> None:
    drawn, modelled = make("random", trials=64), make("hyperopt", trials=64, initial_random=12)
    members = find_strategies()["pbt"].model_validate({"population": 12})
    first = [proposals(one.plan(LATTICE, OBJECTIVE, 4.0, 1))[:12] for one in (drawn, modelled, members)]
    assert first[0] == first[1] == first[2]
    assert len({repr(params) for params in first[0]}) == 12


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["hyperopt", "optuna"])
@pytest.mark.parametrize("seed", range(3))
def test_a_model_proposes_every_configuration_of_a_finite_space_once(seed: int, kind: str) -> None:
    proposed = proposals(make(kind, trials=100, initial_random=5).plan(LATTICE, OBJECTIVE, 4.0, seed))
    assert len(proposed) == 64
    assert len({repr(params) for params in proposed}) == 64
    assert all(map(LATTICE.contains, proposed))


@pytest.mark.unit
@pytest.mark.parametrize("kind", ["hyperopt", "optuna"])
def test_what_stands_in_for_a_repeat_is_what_the_model_learns_from(kind: str) -> None:
    """The best of 17 x 17 is found sooner than by chance, though most of what TPE proposes at the end would repeat."""
    grid = {"warmup_steps": {"int": [0, 16]}, "per_device_train_batch_size": {"choice": list(range(1, 18))}}
    space, found = Space.model_validate(grid), []
    for seed in range(5):
        searcher: Any = make(kind, trials=289, initial_random=10).plan(space, OBJECTIVE, 4.0, seed).searcher
        for number in range(289):
            params = searcher.suggest(f"trial{number}")
            miss = abs(params["warmup_steps"] - 12) + abs(params["per_device_train_batch_size"] - 5)
            searcher.on_trial_complete(f"trial{number}", {"metrics/accuracy": -float(miss)})
            if miss == 0:
                found.append(number)
        assert searcher.suggest("one more") == "FINISHED"
    assert len(found) == 5
    assert sum(found) / 5 < 100  # 145 by chance


@pytest.mark.unit
def test_more_members_than_configurations_are_the_same_ones_again() -> None:
    members = find_strategies()["pbt"].model_validate({"population": 5})
    assert len(proposals(members.plan(TWO, OBJECTIVE, 4.0, 0))) == 5


@pytest.mark.tune
@pytest.mark.parametrize("limit", [{"trials": 6}, {"trials": None}], ids=["trials", "budget alone"])
@pytest.mark.parametrize("kind", PROPOSING)
def test_a_study_ends_when_its_space_is_used_up(kind: str, limit: dict[str, Any], tmp_path: Path) -> None:
    spec = long_experiment(
        tmp_path,
        strategies=[{"kind": kind, **limit}],
        space={"learning_rate": {"choice": [1e-4, 1e-3, 1e-2]}},
        budget={"epochs": 100},
    )
    study, _ = run_study(spec)
    assert study.state is StudyState.FINISHED
    assert sorted(trial.params["learning_rate"] for trial in study.trials) == [1e-4, 1e-3, 1e-2]
