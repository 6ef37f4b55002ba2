"""Optuna's samplers on several objectives: on a planted front each finds more than random draws, within constraints."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.planted_front import BEST_DECAY, BEST_RATE, SPACE
from trainables.spec import Constraint, Goal, Objective
from tuning.pareto import hypervolume
from tuning.space import Space
from tuning.strategies import find_strategies

pytestmark = pytest.mark.unit

GOAL = Goal(objectives=(Objective(metric="accuracy", mode="max"), Objective(metric="latency_ms", mode="min")))
PLANTED = Space.model_validate(SPACE)
TRIALS = 40


def scores(params: Any) -> dict[str, float]:
    """The closed form of `PlantedFront` at the end of a training."""
    quality = max(0.0, 1 - abs(params["rate"] - BEST_RATE) - abs(params["decay"] - BEST_DECAY))
    return {"metrics/accuracy": math.sqrt(params["width"]) * quality, "metrics/latency_ms": 10 * params["width"]}


def searched(sampler: str, seed: int, goal: Goal = GOAL, trials: int = TRIALS) -> list[tuple[float, float]]:
    """The values of all trials of one search, each trained to its end."""
    generation = {"initial_random": 12} if sampler == "nsga2" else {}
    strategy = find_strategies()["optuna"](trials=trials, sampler=sampler, **generation)
    searcher: Any = strategy.plan_several(PLANTED, goal, 4.0, seed).searcher
    found = []
    for number in range(trials):
        values = scores(searcher.suggest(f"t{number}"))
        searcher.on_trial_complete(f"t{number}", {**values, "epoch": 4.0, "finished": True})
        found.append((values["metrics/accuracy"], values["metrics/latency_ms"]))
    return found


def volume(found: list[tuple[float, float]]) -> float:
    return hypervolume([(-accuracy, latency) for accuracy, latency in found], (0.0, 10.0))


@pytest.mark.parametrize(("sampler", "seeds", "trials"), [("tpe", 20, TRIALS), ("nsga2", 20, 120), ("gp", 4, TRIALS)])
def test_each_sampler_finds_more_of_the_planted_front_than_random_draws(sampler: str, seeds: int, trials: int) -> None:
    """NSGA-II needs generations to breed from, so it is given more trials, and random draws as many."""
    ahead = [
        volume(searched(sampler, seed, trials=trials)) - volume(searched("random", seed, trials=trials))
        for seed in range(seeds)
    ]
    assert sum(gain > 0 for gain in ahead) >= 0.75 * seeds
    assert sum(ahead) > 0


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_constraints_move_the_proposals_within_the_bound(sampler: str) -> None:
    bounded = Goal(objectives=GOAL.objectives, constraints=(Constraint(metric="latency_ms", at_most=3.0),))
    within = [
        sum(latency <= 3.0 for _, latency in searched(sampler, seed, goal)[TRIALS // 2 :])
        for goal in (bounded, GOAL)
        for seed in range(5)
    ]
    assert sum(within[:5]) > sum(within[5:])


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "qmc", "random"])
def test_a_failed_trial_is_left_out_and_the_search_goes_on(sampler: str) -> None:
    random = {} if sampler in ("qmc", "random") else {"initial_random": 4}
    strategy = find_strategies()["optuna"](trials=12, sampler=sampler, **random)
    searcher: Any = strategy.plan_several(PLANTED, GOAL, 4.0, 0).searcher
    proposed = []
    for number in range(12):
        params = searcher.suggest(f"t{number}")
        proposed.append(tuple(params.values()))
        if number % 3 == 2:
            searcher.on_trial_complete(f"t{number}", error=True)
        else:
            searcher.on_trial_complete(f"t{number}", {**scores(params), "epoch": 4.0, "finished": True})
    assert len(set(proposed)) == 12
