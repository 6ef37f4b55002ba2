"""Spaces that a function declares by asking: every view is a replay, and none leaves the space."""

from __future__ import annotations

import itertools
import os
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import own_spaces
from trainables.errors import InputError
from trainables.spec import Params, Value
from trainables.tunables import find_tunable
from tuning.space import Draws, FunctionSpace, Space
from tuning.space.ranges import Range

pytestmark = pytest.mark.unit

CONDITIONAL = FunctionSpace.of(own_spaces.conditional)
FINITE = FunctionSpace.of(own_spaces.finite)

Tree = tuple[int, list[list[Any]]]  # a kind of range, and per choice of a switch the trees below it


def trees(depth: int) -> st.SearchStrategy[Any]:
    below = st.lists(trees(depth - 1), max_size=2) if depth else st.just([])
    return st.tuples(st.integers(0, 2), st.lists(below, min_size=1, max_size=3))


def function_of(tree: Any) -> Callable[[Any], dict[str, Any]]:
    """A function that asks for a range and a switch, and below the switch for what its choice has."""

    def ask(trial: Any, tree: Any, path: str) -> None:
        kind, branches = tree
        if kind == 0:
            trial.suggest_float(f"float{path}", 1e-3, 1, log=True)
        elif kind == 1:
            trial.suggest_int(f"int{path}", 1, 3)
        chosen = trial.suggest_categorical(f"switch{path}", list(range(len(branches))))
        for position, inner in enumerate(branches[chosen]):
            ask(trial, inner, f"{path}.{chosen}{position}")

    def hp_space(trial: Any) -> dict[str, Any]:
        ask(trial, tree, "")
        return dict(trial.params)

    return hp_space


def points_of(tree: Any, points: int) -> int:
    """The length of its grid."""
    kind, branches = tree
    below = sum(_product(points_of(inner, points) for inner in branch) for branch in branches)
    return (points, min(points, 3) if points > 1 else 1, 1)[kind] * below


def _product(counts: Any) -> int:
    result = 1
    for count in counts:
        result *= count
    return result


@settings(max_examples=40, deadline=None)
@given(tree=trees(2), seed=st.integers(0, 2**31))
def test_draws_and_perturbations_of_any_tree_lie_in_its_space(tree: Any, seed: int) -> None:
    space, rng = FunctionSpace.of(function_of(tree)), random.Random(seed)
    for _ in range(3):
        params = space.sample(rng)
        for _ in range(3):
            assert space.contains(params)
            assert space.returned(params) == params
            assert params.keys() <= set(space.names)
            params = space.perturb(params, rng, 0.25)


@settings(max_examples=25, deadline=None)
@given(tree=trees(1), points=st.integers(1, 3))
def test_a_grid_of_any_tree_walks_every_branch_once(tree: Any, points: int) -> None:
    space = FunctionSpace.of(function_of(tree))
    grid = space.grid(points)
    assert len(grid) == points_of(tree, points) == space.grid_size(points)
    assert len({repr(sorted(params.items())) for params in grid}) == len(grid)
    assert all(space.contains(params) for params in grid)


def test_a_grid_goes_branch_by_branch_in_the_order_of_asking() -> None:
    assert FINITE.grid(3) == [
        {"optim": "adamw_torch", "adam_rate": 1e-5},
        {"optim": "adamw_torch", "adam_rate": 1e-4},
        {"optim": "adamw_torch", "adam_rate": 1e-3},
        {"optim": "sgd", "learning_rate": 1e-3},
        {"optim": "sgd", "learning_rate": 1e-2},
    ]


def test_a_finite_space_is_counted_and_drawn_without_repeats_to_its_end() -> None:
    assert FINITE.size == 5
    assert CONDITIONAL.size is None
    drawn = list(Draws(FINITE, 0))
    assert sorted(map(repr, drawn)) == sorted(map(repr, FINITE.grid(3)))


def test_a_seed_determines_the_draws_also_after_a_pickle() -> None:
    draws = [
        list(itertools.islice(Draws(space, 7), 8)) for space in (CONDITIONAL, pickle.loads(pickle.dumps(CONDITIONAL)))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != list(itertools.islice(Draws(CONDITIONAL, 8), 8))


def test_what_the_function_computes_is_what_the_trainable_is_given() -> None:
    params: Params = {"optim": "sgd", "log_lr": -3.0, "momentum": 0.9, "layers": 2, "width0": 64, "width1": 128}
    given = {"optim": "sgd", "learning_rate": 1e-3, "model.momentum": 0.9, "model.widths": "64x128"}
    assert CONDITIONAL.returned(params) == given


def test_a_configuration_has_exactly_the_names_of_its_branch() -> None:
    inside: dict[str, Value] = {"optim": "sgd", "learning_rate": 1e-3}
    assert FINITE.contains(inside)
    assert not FINITE.contains({**inside, "adam_rate": 1e-4})
    assert not FINITE.contains({"optim": "adamw_torch", "learning_rate": 1e-3})
    assert not FINITE.contains({"optim": "sgd", "learning_rate": 0.5})
    assert not FINITE.contains({"optim": "sgd"})


def test_a_member_keeps_its_branch_moves_what_may_move_and_holds_the_rest() -> None:
    space = CONDITIONAL.allowing(lambda name: find_tunable(name if name != "log_lr" else "learning_rate"))
    assert {name for name, dimension in space.items() if dimension.mutate} == {"log_lr", "weight_decay"}
    donor: Params = {"optim": "adamw_torch", "log_lr": -3.0, "weight_decay": 0.1, "layers": 1, "width0": 100}
    for seed in range(20):
        member = space.perturb(donor, random.Random(seed), 0.0, (0.8, 1.2))
        assert member["log_lr"] in (pytest.approx(-2.4), pytest.approx(-3.6))
        assert member["weight_decay"] in (pytest.approx(0.08), pytest.approx(0.12))
        assert {**member, "log_lr": -3.0, "weight_decay": 0.1} == donor


def test_a_branch_that_opens_is_drawn_and_one_that_closes_is_gone() -> None:
    donor: Params = {"optim": "adamw_torch", "log_lr": -3.0, "weight_decay": 0.1, "layers": 1, "width0": 100}
    member = CONDITIONAL.perturb(donor, random.Random(0), 0.0, (0.8,))  # two choices: it moves to the other one
    assert member["optim"] == "sgd"
    assert member["momentum"] in (0.0, 0.9)
    assert "weight_decay" not in member
    assert member["log_lr"] == pytest.approx(-2.4)
    assert member["width0"] == 80


def test_a_value_that_the_new_branch_does_not_allow_is_drawn() -> None:
    def hp_space(trial: Any) -> dict[str, Any]:
        high = 1e-3 if trial.suggest_categorical("optim", ["adam", "sgd"]) == "adam" else 1.0
        return {"learning_rate": trial.suggest_float("learning_rate", high / 10, high)}

    space = FunctionSpace.of(hp_space)
    member = space.perturb({"optim": "adam", "learning_rate": 5e-4}, random.Random(0), 0.0)
    assert member["optim"] == "sgd"
    assert space.contains(member)


def test_one_name_with_two_ranges_has_an_axis_over_both() -> None:
    def hp_space(trial: Any) -> dict[str, Any]:
        if trial.suggest_categorical("small", [True, False]):
            return {"x": trial.suggest_int("x", 1, 4)}
        return {"x": trial.suggest_int("x", 10, 40, step=10)}

    dimension = FunctionSpace.of(hp_space).root["x"]
    assert isinstance(dimension, Range)
    assert dimension.bounds == (1, 40)


def test_where_nothing_depends_on_an_answer_every_view_is_that_of_the_plain_space() -> None:
    space = FunctionSpace.of(own_spaces.static)
    plain = Space.model_validate({"weight_decay": {"uniform": [0, 0.3]}, "log_lr": {"uniform": [-5, -2]}})
    assert space.plain == plain
    assert not space.conditional
    assert space.grid(3) == plain.grid(3)
    assert space.size is plain.size is None
    assert space.to_hyperopt().keys() == plain.to_hyperopt().keys()
    assert space.sample(random.Random(3)) == plain.sample(random.Random(3))
    assert space.to_optuna() == plain.to_optuna()


def test_a_branch_deep_below_others_is_found() -> None:
    def hp_space(trial: Any) -> dict[str, Any]:
        opened = trial.suggest_categorical("a", [0, 1, 2]) == 2 and trial.suggest_int("b", 1, 4) == 3
        if opened and trial.suggest_float("c", 0, 1) == 1:
            trial.suggest_float("d", 0, 1)
        return dict(trial.params)

    assert FunctionSpace.of(hp_space).names == ("a", "b", "c", "d")


def ask_forever(trial: Any) -> dict[str, Any]:
    count = 0
    while trial.suggest_categorical(f"more{count}", [True, False]):
        count += 1
    return {}


def roll_dice(trial: Any) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", 0, random.random() + 1)}


def jitter(trial: Any) -> dict[str, Any]:
    return {"x": trial.suggest_float("y", 0, 1) + random.random()}


def two_kinds(trial: Any) -> dict[str, Any]:
    if trial.suggest_categorical("whole", [True, False]):
        return {"x": trial.suggest_int("x", 0, 1)}
    return {"x": trial.suggest_float("x", 0, 1)}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            own_spaces.drifting,
            ["'learning_rate': was suggested as float from 1e-05 to ", "and as float from 1e-05 to "],
        ),
        (roll_dice, ["'x': was suggested as float from 0 to 1.", "again with the same answers"]),
        (jitter, ["'x': is returned as ", "for the same answers (y=0.0)"]),
        (two_kinds, ["'x': is suggested as int from 0 to 1 in one branch and as float from 0 to 1 in another"]),
        (ask_forever, ["'more1000': one call suggests more than 1000 names"]),
    ],
)
def test_a_function_that_is_no_space_is_reported_by_the_name_with_both_ranges(
    function: Callable[[Any], dict[str, Any]], words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        FunctionSpace.of(function)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_function_that_changes_later_is_reported_with_both_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHEST", "1")
    space = FunctionSpace.of(lambda trial: {"x": trial.suggest_float("x", 0, float(os.environ["HIGHEST"]))})
    assert space.sample(random.Random(0))["x"] <= 1
    monkeypatch.setenv("HIGHEST", "9")
    with pytest.raises(InputError, match=r"now suggests first \(float from 0 to 9\), and was x \(float from 0 to 1\)"):
        space.sample(random.Random(0))


@pytest.mark.parametrize("name", ["", "suggested.x"])
def test_a_name_that_no_report_could_tell_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="give it another name"):
        FunctionSpace.of(lambda trial: {"x": trial.suggest_float(name, 0, 1)})


def test_what_no_training_takes_is_reported_with_the_answers_that_lead_there() -> None:
    ((path, rule),) = FunctionSpace.of(own_spaces.too_high).refusals()
    assert path == ""
    assert "the function returns learning_rate=100.0 for log_lr=2.0: must be at most 1" in rule
    assert FINITE.refusals() == []


@pytest.mark.parametrize("view", ["to_ray", "to_hyperopt"])
def test_a_view_that_cannot_have_branches_refuses_them(view: str) -> None:
    with pytest.raises(InputError, match="cannot express what a function decides"):
        getattr(CONDITIONAL, view)()


def test_a_grid_too_large_to_walk_is_refused() -> None:
    with pytest.raises(InputError, match="more than 10,000 combinations"):
        FunctionSpace.of(own_spaces.large).grid(6)
