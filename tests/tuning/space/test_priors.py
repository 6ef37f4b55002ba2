"""Priors: how much of a density lies where, in draws and in HyperOpt's view; and what is refused."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tuning.space import FunctionSpace, Knowledge, Prior, Space
from tuning.space.priors import UNIFORM_SHARE, RangeDensity

pytestmark = pytest.mark.unit

SPACE = Space.model_validate(
    {
        "learning_rate": {"loguniform": [1e-6, 1e-3]},
        "weight_decay": {"uniform": [0, 0.3], "step": 0.05},
        "model.hidden_dropout_prob": {"uniform": [0, 0.5]},
        "per_device_train_batch_size": {"choice": [16, 32, 64]},
        "data.max_length": {"logint": [16, 512]},
        "adam_beta1": 0.9,
    }
)
PRIORS = {
    "learning_rate": Prior(around=2e-5, factor=3),
    "weight_decay": Prior(around=0.1, spread=0.05),
    "model.hidden_dropout_prob": Prior(around=0.1, spread=0.05),
    "per_device_train_batch_size": Prior(around=32, share=0.6),
    "data.max_length": Prior(around=128, factor=1.5),
}
INFORMED = SPACE.knowing(Knowledge(priors=PRIORS))
DRAWS = 4000
TWO_THIRDS = 0.683 * (
    1 - UNIFORM_SHARE
)  # of a normal density within one deviation; of the uniform part some lies there


def drawn(space: Space = INFORMED) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [space.sample(rng) for _ in range(DRAWS)]


def drawn_by_hyperopt(space: Space) -> list[dict[str, Any]]:
    """Draws from HyperOpt's prior: what TPE knows before it has a score."""
    from hyperopt.pyll.stochastic import sample

    rng, expression = np.random.default_rng(0), space.to_hyperopt()
    return [space.from_hyperopt(sample(expression, rng)) for _ in range(DRAWS)]


def share(draws: list[dict[str, Any]], name: str, low: float, high: float) -> float:
    return sum(low <= draw[name] <= high for draw in draws) / len(draws)


@pytest.mark.parametrize("draw", [drawn, drawn_by_hyperopt])
def test_two_thirds_of_the_draws_lie_where_a_prior_says_and_a_tenth_anywhere(draw: Any) -> None:
    draws = draw(INFORMED)
    assert all(INFORMED.contains(one) for one in draws)
    assert TWO_THIRDS < share(draws, "learning_rate", 2e-5 / 3, 2e-5 * 3) < 0.74
    assert TWO_THIRDS < share(draws, "model.hidden_dropout_prob", 0.05, 0.15) < 0.76
    assert 0.02 < share(draws, "model.hidden_dropout_prob", 0.3, 0.5) < 0.06  # four deviations away, and further
    assert 0.57 < share(draws, "per_device_train_batch_size", 32, 32) < 0.63
    counts = Counter(one["weight_decay"] for one in draws)
    assert set(counts) == {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3}
    assert counts.most_common(1)[0][0] == 0.1
    assert share(draws, "data.max_length", 86, 192) > 0.6
    without = draw(SPACE)
    assert share(without, "learning_rate", 2e-5 / 3, 2e-5 * 3) < 0.35


def test_a_value_and_the_share_of_the_density_below_it_are_each_others_inverse() -> None:
    for name in ("learning_rate", "weight_decay", "model.hidden_dropout_prob", "data.max_length"):
        density = PRIORS[name].over(SPACE.root[name])
        assert isinstance(density, RangeDensity)
        assert density.below(density.range.proxy[0]) == 0.0
        assert density.below(density.range.proxy[1]) == pytest.approx(1.0)
        for percent in range(1, 100):
            assert density.below(density.at(percent / 100)) == pytest.approx(percent / 100, abs=1e-9)
        for value in SPACE.root[name].grid(7):
            assert density.from_hyperopt(density.drawn_as(value)) == pytest.approx(value, rel=1e-9)


def test_a_guess_at_the_end_of_a_range_stays_within_it() -> None:
    space = Space.model_validate({"weight_decay": {"uniform": [0, 0.3]}})
    informed = space.knowing(Knowledge(priors={"weight_decay": Prior(around=0, spread=0.1)}))
    draws = drawn(informed)
    assert all(0 <= one["weight_decay"] <= 0.3 for one in draws)
    assert share(draws, "weight_decay", 0, 0.1) > TWO_THIRDS
    assert sum(one["weight_decay"] == 0 for one in draws) == 0  # what would lie outside is not heaped on the bound


def test_what_pbt_draws_anew_comes_from_the_prior() -> None:
    rng, start = random.Random(1), SPACE.sample(random.Random(0))
    moved = [INFORMED.perturb(start, rng, resample_probability=1.0) for _ in range(DRAWS)]
    assert share(moved, "learning_rate", 2e-5 / 3, 2e-5 * 3) > TWO_THIRDS


def test_values_of_a_choice_are_told_apart_by_their_type() -> None:
    space = Space.model_validate({"model.x": {"choice": [True, 2, "a"]}})
    informed = space.knowing(Knowledge(priors={"model.x": Prior(around=True, share=0.9)}))
    assert Counter(repr(one["model.x"]) for one in drawn(informed)).most_common(1)[0][0] == "True"
    assert informed.drawn_by_hyperopt({"model.x": "a"}) == {"model.x": 2}
    assert not space.contains({"model.x": 1})


@pytest.mark.parametrize(
    ("name", "prior", "rule"),
    [
        ("learning_rate", {"around": 1e-2, "factor": 3}, "around: 0.01 is no value of the dimension"),
        ("learning_rate", {"around": 1e-5, "spread": 1e-5}, "spread does not fit a logarithmic range; write factor"),
        ("learning_rate", {"around": 1e-5, "factor": 1e4}, "must be less than 1000, the width of the range"),
        ("weight_decay", {"around": 0.1, "factor": 2}, "factor does not fit a linear range; write spread"),
        ("weight_decay", {"around": 0.12, "spread": 0.05}, "around: 0.12 is no value of the dimension"),
        ("per_device_train_batch_size", {"around": 32, "spread": 5}, "spread does not fit a choice; write share"),
        ("per_device_train_batch_size", {"around": 32, "share": 0.3}, "must be more than 0.33"),
        ("adam_beta1", {"around": 0.9, "spread": 0.1}, "has a single value, so there is nothing to guess"),
    ],
)
def test_a_prior_that_is_no_density_over_its_dimension_is_refused(name: str, prior: dict[str, Any], rule: str) -> None:
    refusal = Prior.model_validate(prior).refusal(SPACE.root[name])
    assert refusal is not None
    assert rule in refusal


def test_priors_that_fit_are_not_refused() -> None:
    assert [prior.refusal(SPACE.root[name]) for name, prior in PRIORS.items()] == [None] * len(PRIORS)


@pytest.mark.parametrize(
    "raw", [{"around": 1e-5}, {"around": 1e-5, "factor": 2, "spread": 1}, {"around": 1, "factor": 1}]
)
def test_a_prior_says_in_one_way_how_sure_one_is(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prior.model_validate(raw)


def test_numbers_may_be_written_as_texts_of_yaml_1_1() -> None:
    assert Prior.model_validate({"around": "2e-5", "factor": "3"}) == Prior(around=2e-5, factor=3)


def test_a_function_of_a_trial_is_drawn_from_priors_too() -> None:
    def space(trial: Any) -> dict[str, Any]:
        rate = trial.suggest_float("rate", 1e-6, 1e-3, log=True)
        return {"learning_rate": rate}

    informed = FunctionSpace.of(space).knowing(Knowledge(priors={"rate": Prior(around=2e-5, factor=3)}))
    assert share(drawn(informed), "rate", 2e-5 / 3, 2e-5 * 3) > TWO_THIRDS
