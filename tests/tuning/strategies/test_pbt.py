"""Population-based training: what its strategy refuses, and who is replaced by whom. Whole runs: test_pbt_whole."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import find_strategies
from tuning.strategies.pbt import Pbt
from tuning.strategies.schedulers.evolution import Evolution, Member, Perturbation
from tuning.strategies.schedulers.population import Start

pytestmark = pytest.mark.unit

OBJECTIVE = Objective(metric="accuracy", mode="max")
EPOCHS = 4.0
SPACE = {"learning_rate": {"loguniform": [1e-6, 1e-2]}, "weight_decay": {"uniform": [0, 0.3]}}


def space_of(raw: dict[str, Any]) -> Space:
    return Space.model_validate(raw)


# The strategy


def test_is_found_by_its_kind() -> None:
    assert find_strategies()["pbt"] is Pbt


def test_changes_in_flight_what_is_searched_and_does_not_follow_the_donor() -> None:
    space = space_of({**SPACE, "num_train_epochs": {"choice": [2, 3, 4], "mutate": False}, "optim": "adamw_torch"})
    assert Pbt(population=4).changed_in_flight(space) == ("learning_rate", "weight_decay")
    assert Pbt(population=4).refusals(space, EPOCHS) == []


@pytest.mark.parametrize("raw", [{"learning_rate": 1e-4}, {"learning_rate": {"choice": [1, 2], "mutate": False}}])
def test_refuses_a_space_in_which_nothing_may_change(raw: dict[str, Any]) -> None:
    assert [path for path, _ in Pbt(population=4).refusals(space_of(raw), EPOCHS)] == ["space"]


def test_refuses_a_generation_as_long_as_the_whole_trial() -> None:
    found = Pbt(population=4, perturb_every_epochs=EPOCHS).refusals(space_of(SPACE), EPOCHS)
    assert [path for path, _ in found] == ["perturb_every_epochs"]


@pytest.mark.parametrize(
    "wrong",
    [{"population": 1}, {"quantile": 0}, {"quantile": 0.6}, {"resample_probability": 1.1}, {"factors": ()}]
    + [{"perturb_every_epochs": value} for value in (0, -1, math.inf, math.nan)]
    + [{"factors": (0.0,)}, {"factors": (math.nan,)}],
)
def test_rejects_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Pbt(**{"population": 4, **wrong})


# One generation, without Ray


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=12),
    quantile=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=200, deadline=None)
def test_the_worst_quantile_is_replaced_from_the_best_in_whatever_order_members_arrive(
    scores: list[float], quantile: float, seed: int, order: random.Random
) -> None:
    space = space_of(SPACE)
    evolution = Evolution(seed, quantile, Perturbation(space, 0.25, (0.8, 1.2)))
    members = [
        Member(number, f"trial{number}", score, {"learning_rate": 1e-4, "weight_decay": 0.1})
        for number, score in enumerate(scores)
    ]
    takeovers = evolution.takeovers(1, members)
    count = min(math.ceil(quantile * len(scores)), len(scores) // 2)
    ranked = sorted(members, key=lambda member: (-member.score, member.number))
    assert [t.member for t in takeovers] == sorted(ranked[len(ranked) - count :])
    assert all(takeover.donor in ranked[:count] for takeover in takeovers)
    assert all(space.contains(takeover.params) for takeover in takeovers)
    order.shuffle(members)
    assert evolution.takeovers(1, members) == takeovers


def test_the_first_values_follow_the_seed() -> None:
    def first(seed: int) -> object:
        return Pbt(population=5).plan(space_of(SPACE), OBJECTIVE, EPOCHS, seed).searcher.searcher.suggest("a")  # type: ignore[union-attr]

    assert first(1) == first(1) != first(2)


@pytest.mark.parametrize(
    ("members", "slots", "message"),
    [(12, 8, "2 turns, and 4 of the slots wait in the last one; 8 or 16"), (3, 2, "2 or 4"), (8, 8, ""), (4, 8, "")],
)
def test_a_population_that_leaves_slots_waiting_is_reported(members: int, slots: int, message: str) -> None:
    space = space_of({"learning_rate": {"loguniform": [1e-5, 1e-1]}})
    found = Pbt(population=members).plan(space, OBJECTIVE, EPOCHS, 0).scheduler.turns(slots)
    assert message in found if message else found is None
    without = Pbt(population=members, synchronous=False).plan(space, OBJECTIVE, EPOCHS, 0).scheduler
    assert without.turns(slots) is None


def test_a_population_that_waits_has_the_digest_that_it_always_had() -> None:
    assert "synchronous" not in Pbt(population=4).model_dump(mode="json")
    assert Pbt(population=4, synchronous=False).model_dump(mode="json")["synchronous"] is False


def test_the_state_survives_a_pickle_and_the_listener_stays_behind() -> None:
    scheduler = Pbt(population=2).plan(space_of(SPACE), OBJECTIVE, EPOCHS, 1).scheduler
    state = {"generation": 3, "order": ["b", "a"], "starts": {"a": Start(2.0, 0.5)}, "history": [], "lineage": []}
    scheduler.restore_state(state)
    scheduler.on_exploit = lambda trial_id, exploit: None
    copied = pickle.loads(pickle.dumps(scheduler))
    assert copied.state() == scheduler.state() == state
    assert copied.on_exploit is None
