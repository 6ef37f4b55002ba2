"""Population-based bandits: what the model proposes from known gains, and a planted optimum in whole studies."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from tests.support.simulated_studies import long_experiment, run
from trainables.learning_curve import BEST_LEARNING_RATE
from tuning.outcome import StudyOutcome
from tuning.space import Space
from tuning.space.ranges import Range
from tuning.strategies.pb2 import Pb2
from tuning.strategies.schedulers.bandit import Bandit
from tuning.strategies.schedulers.evolution import Stage
from tuning.testing.simulated_ray import SimulatedNode

SPACE: dict[str, Any] = {
    "learning_rate": {"loguniform": [1e-6, 1e-2]},
    "weight_decay": {"uniform": [0, 0.3], "step": 0.05},
    "per_device_train_batch_size": {"choice": [8, 16, 32, 64]},
    "head_lr_multiplier": {"uniform": [1, 50], "mutate": False},
}
EPOCHS = 4.0
SEEDS = 50


def space_of(raw: dict[str, Any] = SPACE) -> Space:
    return Space.model_validate(raw)


def bandit(space: Space, *names: str) -> Bandit:
    return Bandit(
        space, {name: one for name, one in space.searched.items() if name in names and isinstance(one, Range)}
    )


def stages(space: Space, count: int, gain: Any, generation: int = 0, seed: int = 0) -> list[Stage]:
    """Stages of drawn values, which gain what `gain` says."""
    rng = random.Random(seed)
    drawn = [space.sample(rng) for _ in range(count)]
    return [Stage(generation, None if generation == 0 else 0.5, params, gain(params)) for params in drawn]


def decades_off(rate: Any) -> float:
    return abs(math.log10(float(rate) / 1e-4))


def near_1e_4(params: Any) -> float:
    return -decades_off(params["learning_rate"])


@pytest.mark.unit
def test_values_are_those_of_the_space_and_what_is_not_modelled_is_perturbed_or_inherited() -> None:
    space, rng = space_of(), random.Random(3)
    donor = space.sample(rng)
    model = bandit(space, "learning_rate", "weight_decay")
    found = [
        model.explored(Stage(1, 0.5, donor), random.Random(seed), stages(space, 6, near_1e_4), []) for seed in range(12)
    ]
    assert all(space.contains(params) for params in found)
    assert {params["head_lr_multiplier"] for params in found} == {donor["head_lr_multiplier"]}
    assert len({params["per_device_train_batch_size"] for params in found}) > 1


@pytest.mark.unit
def test_the_same_data_and_draws_give_the_same_values() -> None:
    space = space_of()
    model, history = bandit(space, "learning_rate", "weight_decay"), stages(space, 8, near_1e_4)
    stage = Stage(1, 0.5, space.sample(random.Random(1)))
    first, again, other = (model.explored(stage, random.Random(seed), history, []) for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.unit
def test_the_model_finds_the_values_that_have_gained_most() -> None:
    space = space_of({"learning_rate": SPACE["learning_rate"]})
    history = stages(space, 12, near_1e_4)
    nearest = min(decades_off(stage.params["learning_rate"]) for stage in history)
    stage = Stage(1, 0.5, history[0].params)
    off = [
        decades_off(bandit(space, "learning_rate").explored(stage, random.Random(s), history, [])["learning_rate"])
        for s in range(5)
    ]
    assert statistics.median(off) <= max(nearest, 0.3)


@pytest.mark.unit
def test_newer_gains_count_more_where_the_best_values_move() -> None:
    """The best rate falls: 1e-3 gains most in four generations, 1e-5 in the last one."""
    space, found = space_of({"learning_rate": SPACE["learning_rate"]}), []
    for seed in range(4):
        history = []
        for generation, best in enumerate([-3, -3, -3, -3, -5]):

            def gain(params: Any, best: int = best) -> float:
                return -abs(math.log10(params["learning_rate"]) - best)

            history += stages(space, 6, gain, generation, seed=10 * seed + generation)
        stage = Stage(5, 0.5, history[-1].params)
        params = bandit(space, "learning_rate").explored(stage, random.Random(seed), history, [])
        found.append(math.log10(float(str(params["learning_rate"]))))
    assert statistics.median(found) < -4.5


@pytest.mark.unit
def test_members_that_go_on_at_once_get_other_values() -> None:
    space = space_of({"learning_rate": SPACE["learning_rate"], "weight_decay": {"uniform": [0, 0.3]}})
    model, history = bandit(space, "learning_rate", "weight_decay"), stages(space, 5, lambda params: 0.0)
    stage = Stage(1, 0.5, history[0].params)
    chosen: list[Stage] = []
    for _ in range(4):
        params = model.explored(stage, random.Random(0), history, chosen)  # with the same draws
        chosen.append(stage._replace(params=params))
    shares = [[model.ranges[name].share(float(str(one.params[name]))) for name in model.ranges] for one in chosen]
    apart = [math.dist(one, other) for one, other in itertools.combinations(shares, 2)]
    assert min(apart) > 0.3


@pytest.mark.unit
def test_refuses_a_space_of_branches_and_names_what_to_take() -> None:
    from tuning.space import FunctionSpace

    def branching(trial: Any) -> dict[str, Any]:
        optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
        return {"optim": optim} if optim == "sgd" else {"optim": optim, "lr": trial.suggest_float("lr", 0.1, 0.9)}

    ((path, rule),) = Pb2(population=4).refusals(FunctionSpace.of(branching), EPOCHS)
    assert path == "space"
    assert "take pbt" in rule


def reached(study: StudyOutcome) -> float:
    best = study.best()
    assert best is not None
    return best[1].metrics["accuracy"]


@pytest.mark.tune
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_planted_optimum_is_found_faster_than_by_random_search(synchronous: bool, tmp_path: Path) -> None:
    """Four members against four random trials with the same first values, in pairs over fifty seeds."""
    spec = long_experiment(
        tmp_path,
        space={"learning_rate": {"loguniform": [1e-6, 1e-1]}, "weight_decay": {"uniform": [0, 0.3]}},
        strategies=[{"kind": "pb2", "population": 4, "synchronous": synchronous}, {"kind": "random", "trials": 4}],
        seeds=list(range(SEEDS)),
        budget={"epochs": 4 * EPOCHS},
        cluster={"max_concurrent": 4},
    )
    outcome, _ = run(spec, SimulatedNode(cpus=4))
    pairs = [[outcome.study(kind, seed) for kind in ("pb2", "random")] for seed in range(SEEDS)]
    gains = [reached(modelled) - reached(drawn) for modelled, drawn in pairs]
    better, worse = sum(gain > 1e-9 for gain in gains), sum(gain < -1e-9 for gain in gains)
    assert binomtest(better, better + worse, alternative="greater").pvalue < 1e-3, (better, worse)
    assert statistics.mean(gains) > 0.01
    off = [[rate_off(study) for study in pair] for pair in pairs]
    assert statistics.mean(one for one, _ in off) < 0.7 * statistics.mean(other for _, other in off)


def rate_off(study: StudyOutcome) -> float:
    """How many decades the best report's rate is from the planted one."""
    best = study.best()
    assert best is not None
    return abs(math.log10(float(str(best[1].params["learning_rate"])) / BEST_LEARNING_RATE))
