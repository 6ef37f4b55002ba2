"""Spaces as users of `Trainer.hyperparameter_search` have them: the same names, and exactly the same values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna import distributions
from optuna.trial import FixedTrial
from ray import tune

from trainables.errors import InputError
from trainables.spec import Value
from tuning.space import FunctionSpace, Space, read_space
from tuning.space.dimensions import Choice, Dimension, Fixed
from tuning.space.foreign import read_dimension
from tuning.space.ranges import IntUniform, LogInt, LogUniform, Range, Uniform

pytestmark = pytest.mark.unit


def all_values(raw: object) -> list[Value]:
    """All values of a finite dimension, in order."""
    dimension = read_dimension("x", raw)
    assert dimension.count is not None
    return dimension.grid(dimension.count)


def of_sweep(**parameter: Any) -> Dimension:
    return read_space({"method": "random", "parameters": {"x": parameter}}).root["x"]


# Ray


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (tune.randint(1, 4), [1, 2, 3]),
        (tune.randint(3, 4), [3]),
        (tune.lograndint(1, 5), [1, 2, 3, 4]),
        (tune.qrandint(1, 9, 2), [2, 4, 6, 8]),
        (tune.qrandint(2, 6, 2), [2, 4, 6]),
        (tune.qrandint(1, 4, 1), [1, 2, 3]),
        (tune.qlograndint(2, 8, 2), [2, 4, 6, 8]),
        (tune.quniform(0, 0.3, 0.1), [0.0, 0.1, 0.2, 0.3]),
        (tune.qloguniform(0.1, 0.4, 0.1), [0.1, 0.2, 0.3, 0.4]),
        (tune.choice([16, 32]), [16, 32]),
        (tune.choice([np.int64(16), None, True, "linear"]), [16, None, True, "linear"]),
        (tune.grid_search(["a", "b"]), ["a", "b"]),
        (3, [3]),
        (np.float64(0.5), [0.5]),
        ({"choice": [1, 2]}, [1, 2]),
    ],
)
def test_a_domain_of_ray_has_its_values_the_upper_bound_of_whole_numbers_left_out(
    domain: object, values: list[Value]
) -> None:
    found = all_values(domain)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


@settings(max_examples=60, deadline=None)
@given(low=st.integers(1, 60), width=st.integers(1, 60), step=st.integers(1, 9), kind=st.integers(0, 3))
def test_what_ray_draws_is_what_the_dimension_holds(low: int, width: int, step: int, kind: int) -> None:
    made = [
        lambda: tune.randint(low, low + width),
        lambda: tune.lograndint(low, low + width),
        lambda: tune.qrandint(low * step, (low + width) * step, step),
        lambda: tune.quniform(low * step / 10, (low + width) * step / 10, step / 10),
    ][kind]()
    dimension = read_dimension("x", made)
    drawn = {made.sample(random_state=seed) for seed in range(40)}
    assert all(dimension.contains(value) for value in drawn), (dimension, drawn)
    ends = dimension.grid(2)
    assert made.is_valid(ends[0])
    assert made.is_valid(ends[-1])


def test_ranges_of_ray_keep_bounds_and_scale() -> None:
    space = read_space({"a": tune.uniform(0, 1), "b": tune.loguniform(1e-5, 1e-3)})
    assert space == Space.model_validate({"a": {"uniform": [0, 1]}, "b": {"loguniform": [1e-5, 1e-3]}})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (tune.sample_from(lambda config: 1), "random state of its own"),
        (tune.randn(0, 1), "no bounds"),
        (tune.qrandn(0, 1, 0.5), "no bounds"),
        (tune.choice([[64], [64, 64]]), "must be a number, a text"),
        (tune.choice([1, 1, 2]), "stands twice"),
        (tune.choice([]), "at least one choice"),
        (tune.uniform(2, 1), "low must be at most high"),
        ([16, 32], "bare list"),
        ({"unifrm": [0, 1]}, "exactly one of the keys"),
        ({"uniform": [1, 0]}, "low must be less than high"),
        (object(), "must be a number, a text"),
    ],
)
def test_what_has_no_dimension_is_refused_by_name_with_what_to_write(raw: object, words: str) -> None:
    with pytest.raises(InputError, match=r"space\.x: ") as caught:
        read_space({"x": raw})
    assert words in str(caught.value)
    assert caught.value.next_step


# Optuna


@pytest.mark.parametrize(
    ("distribution", "dimension"),
    [
        (distributions.FloatDistribution(0, 1), Uniform(uniform=(0, 1))),
        (distributions.FloatDistribution(1e-5, 1e-3, log=True), LogUniform(loguniform=(1e-5, 1e-3))),
        (distributions.FloatDistribution(0, 1, step=0.25), Uniform(uniform=(0, 1), step=0.25)),
        (distributions.FloatDistribution(0.5, 0.5), Fixed(fixed=0.5)),
        (distributions.IntDistribution(1, 4), IntUniform(int=(1, 4))),
        (distributions.IntDistribution(0, 9, step=3), IntUniform(int=(0, 9), step=3)),
        (distributions.IntDistribution(1, 64, log=True), LogInt(logint=(1, 64))),
        (distributions.CategoricalDistribution((None, "a")), Choice(choice=(None, "a"))),
    ],
)
def test_a_distribution_of_optuna_is_a_dimension(distribution: object, dimension: Dimension) -> None:
    assert read_dimension("x", distribution) == dimension


def ranges_asked(trial: Any) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 0, 0.3, step=0.1),
        "epochs": trial.suggest_int("epochs", 1, 5),
        "accumulation": trial.suggest_int("accumulation", 1, 16, log=True),
        "optim": trial.suggest_categorical("optim", ["adamw_torch", "sgd"]),
        "a": trial.suggest_uniform("a", 0, 1),
        "b": trial.suggest_loguniform("b", 0.1, 1),
        "c": trial.suggest_discrete_uniform("c", 0, 1, 0.5),
    }


def test_a_function_that_always_asks_the_same_is_a_plain_space() -> None:
    space = read_space(ranges_asked)
    assert isinstance(space, FunctionSpace)
    assert space.plain == Space.model_validate(
        {
            "learning_rate": {"loguniform": [1e-6, 1e-4]},
            "weight_decay": {"uniform": [0, 0.3], "step": 0.1},
            "epochs": {"int": [1, 5]},
            "accumulation": {"logint": [1, 16]},
            "optim": {"choice": ["adamw_torch", "sgd"]},
            "a": {"uniform": [0, 1]},
            "b": {"loguniform": [0.1, 1]},
            "c": {"uniform": [0, 1], "step": 0.5},
        }
    )


@pytest.mark.filterwarnings("ignore:.*has been deprecated")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_what_the_function_returns_is_what_optuna_would_have_it_return(seed: int) -> None:
    space = read_space(ranges_asked)
    assert isinstance(space, FunctionSpace)
    params = space.sample(random.Random(seed))
    assert space.returned(params) == ranges_asked(FixedTrial(dict(params))) == params


# Weights & Biases


@pytest.mark.parametrize(
    ("parameter", "dimension"),
    [
        ({"value": 3}, Fixed(fixed=3)),
        ({"distribution": "constant", "value": "a"}, Fixed(fixed="a")),
        ({"values": [16, 32]}, Choice(choice=(16, 32))),
        ({"distribution": "categorical", "values": [True, False]}, Choice(choice=(True, False))),
        ({"min": 1, "max": 4}, IntUniform(int=(1, 4))),
        ({"min": 1, "max": 4.0}, Uniform(uniform=(1, 4))),
        ({"min": 0, "max": 1, "distribution": "uniform"}, Uniform(uniform=(0, 1))),
        ({"min": 1, "max": 6, "distribution": "int_uniform"}, IntUniform(int=(1, 6))),
        ({"min": "1e-5", "max": 1e-3, "distribution": "log_uniform_values"}, LogUniform(loguniform=(1e-5, 1e-3))),
        ({"min": 0.1, "max": 1, "distribution": "inv_log_uniform_values"}, LogUniform(loguniform=(0.1, 1))),
        ({"min": 0, "max": 1, "distribution": "q_uniform", "q": 0.25}, Uniform(uniform=(0, 1), step=0.25)),
        ({"min": 0.5, "max": 4, "distribution": "q_uniform"}, IntUniform(int=(1, 4))),
        ({"min": 8, "max": 64, "distribution": "q_log_uniform_values", "q": 8}, LogInt(logint=(8, 64), step=8)),
    ],
)
def test_a_parameter_of_a_sweep_is_a_dimension(parameter: dict[str, Any], dimension: Dimension) -> None:
    assert of_sweep(**parameter) == dimension


def test_exponents_of_a_sweep_are_natural_logarithms() -> None:
    found = [
        of_sweep(min=-9, max=-7, distribution="log_uniform"),
        of_sweep(min=7, max=9, distribution="inv_log_uniform"),
    ]
    for dimension in found:
        assert isinstance(dimension, LogUniform)
        assert dimension.bounds == pytest.approx((math.exp(-9), math.exp(-7)))


def test_nested_parameters_of_a_sweep_have_dotted_names() -> None:
    raw = {"parameters": {"optimizer": {"parameters": {"lr": {"min": 0.0, "max": 1.0}, "name": {"value": "sgd"}}}}}
    assert read_space(raw).names == ("optimizer.lr", "optimizer.name")


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ({"distribution": "normal", "mu": 0, "sigma": 1}, "has no bounds"),
        ({"values": [1, 2], "probabilities": [0.1, 0.9]}, "probabilities"),
        ({"distribution": "log_uniform_vals", "min": 1, "max": 2}, "did you mean log_uniform_values?"),
        ({"min": 1}, "neither value, values nor min and max"),
        ({"min": 1, "max": 2, "distribution": "q_uniform", "q": 5}, "no multiple of its step 5"),
        ({"min": 0, "max": 2, "distribution": "log_uniform_values"}, "begins above 0"),
    ],
)
def test_a_parameter_without_values_to_draw_is_refused_by_name(parameter: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=r"space\.x: ") as caught:
        of_sweep(**parameter)
    assert words in str(caught.value)


# The entry


def test_without_a_space_it_is_the_default_of_the_installed_transformers() -> None:
    space = read_space(None)
    assert isinstance(space, FunctionSpace)
    assert space.plain == Space.model_validate(
        {
            "learning_rate": {"loguniform": [1e-6, 1e-4]},
            "num_train_epochs": {"int": [1, 5]},
            "seed": {"int": [1, 40]},
            "per_device_train_batch_size": {"choice": [4, 8, 16, 32, 64]},
        }
    )


@pytest.mark.parametrize(
    "returned", [{"x": tune.randint(1, 4)}, {"method": "grid", "parameters": {"x": {"min": 1, "max": 3}}}]
)
def test_a_function_may_return_a_dictionary_of_the_other_backends(returned: Mapping[str, Any]) -> None:
    assert read_space(lambda _: returned) == Space.model_validate({"x": {"int": [1, 3]}})


def test_a_space_of_ours_and_its_form_in_yaml_are_read_as_they_are() -> None:
    raw = {"x": {"uniform": [0, 1], "mutate": False}, "y": 3}
    space = Space.model_validate(raw)
    assert read_space(space) is space
    assert read_space(raw) == space


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (lambda trial: None, "suggests nothing and returns NoneType"),
        (lambda trial: trial.suggest_float("x", 0, 1), "must return a dictionary by hyperparameter, not float"),
        (lambda trial: {"x": trial.suggest_float("x", 0, 1), "y": tune.uniform(0, 1)}, "beside suggest_*"),
        (lambda trial: {"x": trial.suggest_float("x", 1, 0)}, "low must be at most high"),
        (lambda trial: {"x": trial.suggest_int("x", 0.5, 2)}, "must be a whole number"),
        (lambda trial: {"x": trial.suggest_categorical("x", [[1], [2]])}, "must be a number, a text"),
        (lambda trial: {"x": trial.suggest_float("x", 0, 1, log=True)}, "begins above 0"),
        (lambda trial: {"x": trial.suggest_float("x", 0, 1) + trial.suggest_int("x", 0, 1)}, "suggested twice"),
        (lambda trial: {"x": trial.suggest_float("x", 0, 1) / 0}, "raises ZeroDivisionError: "),
        (3, "no search space"),
        ("no_such_module:hp_space", "No module named 'no_such_module'"),
        ("math:hp_space", "math has no hp_space"),
        ("math", "must be package.module:name"),
    ],
)
def test_what_is_no_space_is_refused_with_what_to_write(raw: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_space(raw)
    assert words in str(caught.value)
    assert caught.value.next_step


def test_a_range_is_a_range_whatever_library_has_declared_it() -> None:
    both = [read_dimension("x", raw) for raw in (tune.uniform(0, 1), distributions.FloatDistribution(0, 1))]
    assert isinstance(both[0], Range)
    assert both[0] == both[1] == of_sweep(min=0.0, max=1.0)
