"""Every sampler finds an optimum that was planted in a closed form, faster than random draws do.

Pairs over seeds, by ask and tell alone: no trial is run. The forms are those of learning rates: one best order of
magnitude, and values that hardly matter beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon

from tests.support.strategies import make
from tuning.space import Draws, Space
from tuning.testing.plan_contract import OBJECTIVE

pytestmark = pytest.mark.unit

SEEDS = 50
SPACE = Space.model_validate(
    {
        "learning_rate": {"loguniform": [1e-6, 1e-1]},
        "weight_decay": {"uniform": [0, 0.3]},
        "warmup_steps": {"int": [0, 500]},
    }
)


def miss(params: Mapping[str, Any]) -> float:
    """The distance of a configuration to the planted one; the rate matters most."""
    rate = (math.log10(params["learning_rate"]) + 3.2) / 2.5
    decay, warmup = (params["weight_decay"] - 0.1) / 0.3, (params["warmup_steps"] - 350) / 500
    return rate**2 + 0.3 * decay**2 + 0.1 * warmup**2


def best_missed(sampler: str, seed: int, trials: int, **fields: Any) -> float:
    """The least distance among `trials` proposals of a sampler that is told each score before the next."""
    found = make("custom", sampler=sampler, stopping="none", trials=trials, **fields).plan(SPACE, OBJECTIVE, 4.0, seed)
    searcher: Any = found.searcher
    missed = []
    for number in range(trials):
        missed.append(miss(searcher.suggest(f"trial{number}")))
        searcher.on_trial_complete(f"trial{number}", {"metrics/accuracy": -missed[-1]})
    return min(missed)


def drawn(seed: int, trials: int) -> float:
    """The least distance among as many random draws of the same seed."""
    return min(map(miss, itertools.islice(Draws(SPACE, seed), trials)))


@pytest.mark.parametrize(
    ("sampler", "trials", "fields"),
    [
        ("hyperopt", 40, {"initial_random": 10}),
        ("tpe", 40, {"initial_random": 10}),
        ("gp", 10, {"initial_random": 6}),
        ("cmaes", 40, {}),
    ],
)
def test_a_model_finds_the_planted_optimum_faster_than_random_draws(
    sampler: str, trials: int, fields: dict[str, Any]
) -> None:
    pairs = [(best_missed(sampler, seed, trials, **fields), drawn(seed, trials)) for seed in range(SEEDS)]
    ours, random = np.array(pairs).T
    assert np.median(ours) < 0.75 * np.median(random)
    assert wilcoxon(ours, random, alternative="less").pvalue < 0.01


def test_a_quasi_random_sequence_is_not_worse_than_random_draws() -> None:
    pairs = [(best_missed("qmc", seed, 32), drawn(seed, 32)) for seed in range(SEEDS)]
    ours, random = np.array(pairs).T
    assert np.mean(ours) <= np.mean(random)
    assert wilcoxon(ours, random, alternative="greater").pvalue > 0.05


def test_the_random_sampler_is_the_draws_themselves() -> None:
    assert [best_missed("random", seed, 20) for seed in range(5)] == [drawn(seed, 20) for seed in range(5)]
