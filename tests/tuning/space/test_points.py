"""Points that are tried first: how they are completed, and what `Draws` yields before and after them."""

from __future__ import annotations

import itertools
import pickle
import random
from typing import Any

import pytest

from trainables.errors import InputError
from trainables.spec import Params
from tuning.space import Draws, EarlierTrial, FunctionSpace, Knowledge, KnownPoint, Space

pytestmark = pytest.mark.unit

SPACE = Space.model_validate(
    {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "weight_decay": {"uniform": [0, 0.3]},
        "per_device_train_batch_size": {"choice": [16, 32]},
        "adam_beta1": 0.9,
    }
)
FINITE = Space.model_validate({"learning_rate": {"choice": [1e-5, 1e-4, 1e-3]}, "warmup_steps": {"int": [0, 2]}})
WHOLE = {"learning_rate": 1e-4, "weight_decay": 0, "per_device_train_batch_size": 32}


def branches(trial: Any) -> dict[str, Any]:
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    if optim == "sgd":
        return {"optim": optim, "learning_rate": trial.suggest_float("sgd_rate", 1e-3, 1e-1, log=True)}
    return {"optim": optim, "learning_rate": trial.suggest_float("rate", 1e-5, 1e-3, log=True)}


def pointing(space: Space, *values: Params) -> Any:
    return space.knowing(Knowledge(points=tuple(KnownPoint(one, "given point") for one in values)))


def first(space: Space, number: int, seed: int = 0) -> list[dict[str, Any]]:
    return list(itertools.islice(Draws(space, seed), number))


def test_points_come_first_in_their_order_and_the_draws_behind_them_are_those_without_points() -> None:
    known = pointing(SPACE, WHOLE, {"learning_rate": 1e-3})
    drawn = first(known, 6)
    assert drawn[0] == {**WHOLE, "weight_decay": 0.0, "adam_beta1": 0.9}
    assert type(drawn[0]["weight_decay"]) is float  # as the range has it
    assert drawn[1]["learning_rate"] == 1e-3
    assert SPACE.contains(drawn[1])
    assert drawn[2:] == first(SPACE, 4)
    assert list(drawn[0]) == list(SPACE.names)


def test_what_a_point_leaves_out_is_drawn_anew_for_each_seed() -> None:
    known = pointing(SPACE, {"learning_rate": 1e-3})
    assert first(known, 1, seed=1) == first(known, 1, seed=1) != first(known, 1, seed=2)


def test_draws_with_points_can_be_pickled_in_between() -> None:
    draws = Draws(pointing(SPACE, WHOLE, {"learning_rate": 1e-3}), 0)
    next(draws)
    again = pickle.loads(pickle.dumps(draws))
    assert list(itertools.islice(again, 4)) == list(itertools.islice(draws, 4))


def test_in_a_finite_space_no_point_is_drawn_again() -> None:
    known = pointing(FINITE, {"learning_rate": 1e-3, "warmup_steps": 2}, {"warmup_steps": 0}, {"warmup_steps": 0})
    drawn = first(known, 100)
    assert drawn[0] == {"learning_rate": 1e-3, "warmup_steps": 2}
    assert [one["warmup_steps"] for one in drawn[1:3]] == [0, 0]
    assert len(drawn) == len({repr(one) for one in drawn}) == FINITE.size


def test_earlier_trials_are_not_drawn_again() -> None:
    there = [EarlierTrial(params=params, score=0.5) for params in first(FINITE, 4)]
    known = FINITE.knowing(Knowledge(trials=tuple(there)))
    assert (known.size, known.untried) == (9, 5)
    assert first(known, 100) == first(FINITE, 100)[4:]
    trials = tuple(EarlierTrial(params=params, score=None) for params in first(SPACE, 3))
    assert first(SPACE.knowing(Knowledge(trials=trials)), 4) == first(SPACE, 7)[3:]


def test_a_point_of_a_function_is_completed_in_a_branch_that_has_it() -> None:
    known = pointing(FunctionSpace.of(branches), {"sgd_rate": 1e-2}, {"optim": "adamw_torch"})
    for seed in range(5):
        one, other = first(known, 2, seed)
        assert one == {"optim": "sgd", "sgd_rate": 1e-2}
        assert other["optim"] == "adamw_torch"
        assert other.keys() == {"optim", "rate"}


def test_a_point_of_a_function_that_no_branch_has_is_refused() -> None:
    space = FunctionSpace.of(branches)
    with pytest.raises(InputError, match="no call of the function was found that suggests all of these"):
        space.completed({"optim": "sgd", "rate": 1e-4}, random.Random(0))


def test_knowledge_travels_with_a_pickled_space() -> None:
    for space in (SPACE, FunctionSpace.of(branches)):
        known = pointing(space, {"learning_rate": 1e-4})
        assert pickle.loads(pickle.dumps(known)).knowledge == known.knowledge
        assert space.knowledge == Knowledge()
