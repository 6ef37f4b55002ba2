"""One declaration, many views: they must describe the same set, and PBT must never leave it."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.spec import Value
from tuning.space import Space
from tuning.space.ranges import Range

pytestmark = pytest.mark.unit

ALL_KINDS = """
learning_rate: {loguniform: [1e-5, 1e-3]}
weight_decay: {uniform: [0, 0.3]}
label_smoothing_factor: {uniform: [0.1, 0.32], step: 0.05}
model.temperature: {loguniform: [0.1, 1.05], step: 0.1}
warmup_steps: {int: [0, 500]}
data.max_length: {int: [8, 30], step: 5}
gradient_accumulation_steps: {logint: [1, 8]}
per_device_train_batch_size: {choice: [16, 32, 64]}
lr_scheduler_type: {choice: [linear, cosine], mutate: false}
model.tie: {choice: [true, false]}
adam_beta1: 0.9
"""
LATTICES = {
    "label_smoothing_factor": [0.1, 0.15, 0.2, 0.25, 0.3],
    "model.temperature": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "data.max_length": [8, 13, 18, 23, 28],
    "gradient_accumulation_steps": [1, 2, 3, 4, 5, 6, 7, 8],
    "per_device_train_batch_size": [16, 32, 64],
    "lr_scheduler_type": ["cosine", "linear"],
    "model.tie": [False, True],
    "adam_beta1": [0.9],
}
Draws = Callable[[Space, int, int], Iterator[dict[str, Value]]]


def parse(text: str) -> Space:
    return Space.model_validate(yaml.safe_load(text))


def own_draws(space: Space, seed: int, count: int) -> Iterator[dict[str, Value]]:
    rng = random.Random(seed)
    return (space.sample(rng) for _ in range(count))


def ray_draws(space: Space, seed: int, count: int) -> Iterator[dict[str, Value]]:
    import numpy as np
    from ray.tune.search.sample import Domain

    rng, domains = np.random.default_rng(seed), space.to_ray()
    for _ in range(count):
        yield {n: d.sample(random_state=rng) if isinstance(d, Domain) else d for n, d in domains.items()}


def hyperopt_draws(space: Space, seed: int, count: int) -> Iterator[dict[str, Value]]:
    import numpy as np
    from hyperopt.pyll.stochastic import sample

    rng, expressions = np.random.default_rng(seed), space.to_hyperopt()
    for _ in range(count):
        yield space.from_hyperopt(sample(expressions, rng=rng))


def optuna_draws(space: Space, seed: int, count: int) -> Iterator[dict[str, Value]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    for _ in range(count):
        params = {**space.fixed, **study.ask(space.to_optuna()).params}
        yield {name: params[name] for name in space.names}


def pbt_draws(space: Space, seed: int, count: int) -> Iterator[dict[str, Value]]:
    rng = random.Random(seed)
    for _ in range(count // 4):
        params = space.sample(rng)
        for _ in range(4):
            yield (params := space.perturb(params, rng, resample_probability=0.1))


VIEWS: dict[str, Draws] = {
    "own": own_draws,
    "ray": ray_draws,
    "hyperopt": hyperopt_draws,
    "optuna": optuna_draws,
    "pbt": pbt_draws,
}
every_view = pytest.mark.parametrize("draws", VIEWS.values(), ids=VIEWS)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    """Any legal range, in its YAML form."""
    kind = draw(st.sampled_from(["uniform", "loguniform", "int", "logint"]))
    if kind in ("int", "logint"):
        low = draw(st.integers(1 if kind == "logint" else -50, 300))
        width = draw(st.integers(1, 1000))
        step = draw(st.none() | st.integers(1, width))
        return {kind: [low, low + width]} | ({} if step is None else {"step": step})
    low = draw(st.floats(1e-7, 10) if kind == "loguniform" else st.floats(-10, 10))
    high = low + draw(st.floats(1e-3, 100))
    share = draw(st.none() | st.floats(0.01, 0.99))
    return {kind: [low, high]} | ({} if share is None else {"step": share * (high - low)})


choices = st.lists(st.integers(-5, 5) | st.sampled_from(["a", "b"]) | st.booleans(), min_size=1, unique_by=repr).map(
    lambda values: {"choice": values}
)
spaces = st.lists(ranges() | choices, min_size=1, max_size=4).map(
    lambda forms: Space.model_validate({f"model.x{i}": form for i, form in enumerate(forms)} | {"model.fixed": 3})
)


@pytest.mark.filterwarnings("ignore:The distribution is specified by")  # steps with more digits than a float has
@every_view
@settings(max_examples=40, deadline=None)
@given(space=spaces, seed=st.integers(0, 2**31))
def test_every_draw_of_every_view_lies_in_the_space(draws: Draws, space: Space, seed: int) -> None:
    for params in draws(space, seed, 8):
        assert space.contains(params), params
        assert all(type(value) in (int, float, str, bool) for value in params.values())


@settings(max_examples=60, deadline=None)
@given(space=spaces, points=st.integers(1, 5))
def test_a_grid_lies_in_the_space_and_repeats_nothing(space: Space, points: int) -> None:
    grid = space.grid(points)
    assert all(space.contains(params) for params in grid)
    assert len({repr(params) for params in grid}) == len(grid)


@every_view
def test_every_view_reaches_every_value_and_both_ends_and_nothing_else(draws: Draws) -> None:
    space = parse(ALL_KINDS)
    drawn = list(draws(space, 0, 1600))
    for name, values in LATTICES.items():
        found = {round(v, 9) if isinstance(v := params[name], float) else v for params in drawn}
        assert sorted(found) == values, name  # type: ignore[type-var]
    for name, scale in {"learning_rate": math.log, "weight_decay": float, "warmup_steps": float}.items():
        low, high = (scale(bound) for bound in space.root[name].bounds)  # type: ignore[attr-defined]
        positions = [(scale(params[name]) - low) / (high - low) for params in drawn]  # type: ignore[arg-type]
        assert 0 <= min(positions) < 0.01, name
        assert 0.99 < max(positions) <= 1 + 1e-12, name


@pytest.mark.parametrize("draws", [own_draws, ray_draws, hyperopt_draws, optuna_draws])
def test_the_ends_of_a_lattice_get_as_much_mass_as_its_middle(draws: Draws) -> None:
    space = parse("{weight_decay: {uniform: [0, 0.3], step: 0.1}, warmup_steps: {int: [1, 4]}}")
    drawn = list(draws(space, 1, 1200))
    for name in space.names:
        counts = Counter(round(float(params[name]), 6) for params in drawn)  # type: ignore[arg-type]
        assert len(counts) == 4
        assert all(240 <= count <= 360 for count in counts.values()), counts  # 300 expected, 15 standard deviation


def test_both_ends_of_a_logarithmic_whole_range_are_drawn() -> None:
    space = parse("gradient_accumulation_steps: {logint: [1, 2]}")
    counts = Counter(params["gradient_accumulation_steps"] for params in own_draws(space, 0, 1000))
    assert counts[1] > 300
    assert counts[2] > 300


@given(space=spaces, seed=st.integers(0, 2**31))
def test_a_share_of_a_range_names_a_value_of_it_and_each_value_has_its_share(space: Space, seed: int) -> None:
    rng = random.Random(seed)
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            value = dimension.at_share(rng.random())
            assert dimension.contains(value), name
            share = dimension.share(value)
            assert -1e-9 <= share <= 1 + 1e-9
            assert dimension.at_share(share) == pytest.approx(value)


@every_view
def test_a_seed_determines_the_draws(draws: Draws) -> None:
    space = parse(ALL_KINDS)
    assert list(draws(space, 7, 8)) == list(draws(space, 7, 8))
    assert list(draws(space, 7, 8)) != list(draws(space, 8, 8))


def test_a_grid_keeps_its_order_and_the_first_name_varies_slowest() -> None:
    space = parse("{per_device_train_batch_size: {choice: [32, 16]}, learning_rate: {loguniform: [1e-5, 1e-3]}}")
    assert [tuple(params.values()) for params in space.grid(3)] == [
        (32, 1e-5),
        (32, pytest.approx(1e-4)),
        (32, 1e-3),
        (16, 1e-5),
        (16, pytest.approx(1e-4)),
        (16, 1e-3),
    ]


def test_a_grid_snaps_to_the_lattice_without_duplicates() -> None:
    assert [p["warmup_steps"] for p in parse("warmup_steps: {int: [0, 2]}").grid(10)] == [0, 1, 2]
    assert [p["weight_decay"] for p in parse("weight_decay: {uniform: [0, 0.3], step: 0.2}").grid(3)] == [0, 0.2]
    assert [p["weight_decay"] for p in parse("weight_decay: {uniform: [0, 0.3]}").grid(1)] == [0.15]


def test_lattice_points_are_written_as_one_would_write_them() -> None:
    values = [params["weight_decay"] for params in parse("weight_decay: {uniform: [0, 0.3], step: 0.05}").grid(7)]
    assert list(map(repr, values)) == ["0.0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]


def perturbed(form: str, value: Value, factor: float) -> Value:
    """One perturbation without resampling."""
    return parse(f"model.x: {form}").perturb({"model.x": value}, random.Random(0), 0.0, (factor,))["model.x"]


@pytest.mark.parametrize(
    ("form", "value", "factor", "moved"),
    [
        ("{loguniform: [1e-5, 1e-3]}", 1e-4, 1.2, 1.2e-4),
        ("{loguniform: [1e-5, 1e-3]}", 9e-4, 1.2, 1e-3),
        ("{loguniform: [1e-5, 1e-3]}", 1.1e-5, 0.8, 1e-5),
        ("{uniform: [0, 0.3]}", 0.1, 0.8, 0.08),
        ("{uniform: [0, 0.3]}", 0.0, 1.2, 0.06),
        ("{uniform: [0, 0.3]}", 0.0, 0.8, 0.0),
        ("{uniform: [0, 0.3], step: 0.05}", 0.1, 1.2, 0.15),
        ("{uniform: [0, 0.3], step: 0.05}", 0.3, 1.2, 0.3),
        ("{int: [0, 500]}", 100, 0.8, 80),
        ("{int: [0, 500]}", 1, 1.2, 2),
        ("{int: [0, 500]}", 1, 0.8, 0),
        ("{logint: [16, 64]}", 60, 1.2, 64),
    ],
)
def test_a_number_is_multiplied_and_clipped(form: str, value: Value, factor: float, moved: Value) -> None:
    result = perturbed(form, value, factor)
    assert result == pytest.approx(moved)
    assert type(result) is type(moved)


def test_a_choice_moves_to_a_neighbour_in_the_declared_order() -> None:
    space = parse("model.x: {choice: [a, b, c, d]}")
    rng = random.Random(0)
    moves = {v: {space.perturb({"model.x": v}, rng, 0.0)["model.x"] for _ in range(40)} for v in "abcd"}
    assert moves == {"a": {"b"}, "b": {"a", "c"}, "c": {"b", "d"}, "d": {"c"}}


def test_true_and_one_are_different_choices() -> None:
    space = parse("model.x: {choice: [true, 1]}")
    assert space.perturb({"model.x": True}, random.Random(0), 0.0)["model.x"] is not True
    assert not parse("model.x: {choice: [1, 2]}").contains({"model.x": True})


def test_fixed_values_and_mutate_false_follow_the_donor() -> None:
    space = parse("{adam_beta1: 0.9, warmup_steps: {int: [0, 500], mutate: false}, weight_decay: {uniform: [0, 0.3]}}")
    donor = {"adam_beta1": 0.9, "warmup_steps": 123, "weight_decay": 0.1}
    for seed in range(30):
        member = space.perturb(donor, random.Random(seed), resample_probability=0.5)
        assert (member["adam_beta1"], member["warmup_steps"]) == (0.9, 123)
        assert member["weight_decay"] != 0.1


def test_resampling_with_probability_one_forgets_the_donor() -> None:
    space, donor = parse("weight_decay: {uniform: [0, 0.3]}"), {"weight_decay": 0.1}
    rng = random.Random(0)
    drawn = [float(space.perturb(donor, rng, 1.0)["weight_decay"]) for _ in range(200)]  # type: ignore[arg-type]
    assert min(drawn) < 0.02
    assert max(drawn) > 0.28


@settings(max_examples=60, deadline=None)
@given(space=spaces)
def test_a_space_survives_being_written_down(space: Space) -> None:
    assert Space.model_validate(yaml.safe_load(yaml.safe_dump(space.model_dump(mode="json")))) == space


def test_yaml_numbers_without_a_point_are_numbers() -> None:
    space = parse("{learning_rate: {loguniform: [1e-5, 1e-3]}, adam_epsilon: 1e-8, weight_decay: {choice: [1e-2, 0]}}")
    assert space.root["learning_rate"].bounds == (1e-5, 1e-3)  # type: ignore[attr-defined]
    assert space.fixed == {"adam_epsilon": 1e-8}
    assert space.root["weight_decay"].values == (0.01, 0)  # type: ignore[attr-defined]


def test_a_legal_space_is_not_refused() -> None:
    assert parse(ALL_KINDS).refusals(epochs=4) == []
