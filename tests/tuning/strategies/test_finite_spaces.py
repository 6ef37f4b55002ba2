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
@pytest.mark.parametrize("kind", ["random", "random_asha"])
def test_random_search_plans_no_more_trials_than_there_are_configurations(kind: str) -> None:
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
def test_more_random_trials_and_members_than_configurations_are_the_same_ones_again() -> None:
    modelled = make("hyperopt", trials=6, initial_random=4)
    assert modelled.learns_after(TWO) == 2
    assert len(proposals(modelled.plan(TWO, OBJECTIVE, 4.0, 0))) == 6
    members = find_strategies()["pbt"].model_validate({"population": 5})
    assert len(proposals(members.plan(TWO, OBJECTIVE, 4.0, 0))) == 5


@pytest.mark.tune
@pytest.mark.parametrize("limit", [{"trials": 6}, {"trials": None}], ids=["trials", "budget alone"])
@pytest.mark.parametrize("kind", ["random", "random_asha"])
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
