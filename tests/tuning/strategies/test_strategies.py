"""The contract of every strategy that is found, as far as its plans go; and what holds between strategies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.strategies import endless, installed_kinds, kinds, make, plan_contracts, proposals
from tuning.space import Space
from tuning.strategies import find_strategies
from tuning.testing.plan_contract import OBJECTIVE, SPACE, PlanContract

pytestmark = pytest.mark.unit

EPOCHS = 4.0

globals().update(plan_contracts(PlanContract))


def test_only_strategies_that_stop_early_cannot_tell_the_epochs_beforehand() -> None:
    planned = {kind: make(kind).planned_epochs(SPACE, EPOCHS) for kind in kinds()}
    assert {kind for kind, epochs in planned.items() if epochs is None} == {
        "custom",
        "hyperopt_asha",
        "random_asha",
        "random_moasha",
    }


@pytest.mark.parametrize("kind", installed_kinds())
def test_what_a_strategy_tells_without_a_plan_is_what_its_plan_says(kind: str) -> None:
    for strategy in filter(None, (make(kind), endless(kind))):
        plan, shape = strategy.plan(SPACE, OBJECTIVE, EPOCHS, seed=0), strategy.shape(SPACE)
        assert (shape.trials, shape.weights_only) == (plan.trials, plan.weights_only)


@pytest.mark.parametrize("kind", [kind for kind in installed_kinds() if endless(kind)])
def test_proposals_without_end_begin_with_those_of_a_search_that_has_one(kind: str) -> None:
    unending = endless(kind)
    assert unending is not None
    numbered = unending.model_copy(update={"trials": 6})
    whole, first = (proposals(one.plan(SPACE, OBJECTIVE, EPOCHS, seed=0)) for one in (unending, numbered))
    assert len(whole) > 6
    assert whole[:6] == first


@pytest.mark.parametrize("seed", [0, 5])
def test_for_one_seed_all_that_draw_begin_with_the_same_points(seed: int) -> None:
    drawn = {kind: find_strategies()[kind](trials=8) for kind in ("random", "random_asha", "random_moasha")}
    modelling = ("hyperopt", "hyperopt_asha", "optuna", "custom")
    modelled = {kind: find_strategies()[kind](trials=8, initial_random=5) for kind in modelling}
    changed: list[dict[str, Any]] = [{}, {"explore": False}, {"synchronous": False}]
    populations = [find_strategies()["pbt"](population=5, **fields) for fields in changed]
    strategies = [*drawn.values(), *modelled.values(), *populations, find_strategies()["pb2"](population=5)]
    first, *others = (proposals(strategy.plan(SPACE, OBJECTIVE, EPOCHS, seed))[:5] for strategy in strategies)
    assert all(points == first for points in others)
    assert first != proposals(strategies[0].plan(SPACE, OBJECTIVE, EPOCHS, seed + 1))[:5]


def test_only_strategies_that_are_told_to_stop_trials_early() -> None:
    schedulers = {kind: type(make(kind).plan(SPACE, OBJECTIVE, EPOCHS, seed=0).scheduler) for kind in installed_kinds()}
    stopping = {"ASHA": {"custom", "hyperopt_asha", "random_asha"}, "MOASHA": {"random_moasha"}}
    for name, stopped in stopping.items():
        assert {kind for kind, scheduler in schedulers.items() if scheduler.__name__ == name} == stopped


def test_grid_runs_every_combination_in_the_declared_order_to_the_end() -> None:
    space = Space.model_validate({"per_device_train_batch_size": {"choice": [32, 16]}, "warmup_steps": {"int": [0, 9]}})
    plan = make("grid", points=2).plan(space, OBJECTIVE, EPOCHS, seed=0)
    assert [tuple(config.values()) for config in proposals(plan)] == [(32, 0), (32, 9), (16, 0), (16, 9)]
    assert type(plan.scheduler).__name__ == "FIFO"
