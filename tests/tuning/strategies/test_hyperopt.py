"""HyperOpt's TPE: what it starts from, what it learns, and what it makes of trials that fail."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support.strategies import make, proposals
from tuning.space import Space
from tuning.testing.plan_contract import OBJECTIVE, SPACE

pytestmark = pytest.mark.unit

EPOCHS = 4.0
MOST_FAILURES = 0.45  # of what TPE proposes; 0.84 where failed trials are forgotten


def modelled(space: Space = SPACE, seed: int = 0, **fields: Any) -> Any:
    """A fresh TPE searcher."""
    return make("hyperopt", **fields).plan(space, OBJECTIVE, EPOCHS, seed).searcher


def test_a_single_choice_of_every_kind_is_an_initial_point_of_tpe() -> None:
    space = Space.model_validate(
        {
            "lr_scheduler_type": {"choice": ["linear", "cosine"]},
            "max_grad_norm": {"choice": [0, 1.0]},
            "data.max_length": {"logint": [16, 64]},
        }
    )
    one, other = (make(kind, trials=12).plan(space, OBJECTIVE, EPOCHS, seed=1) for kind in ("random", "hyperopt"))
    assert proposals(one)[:4] == proposals(other)[:4]


def test_hyperopt_learns_where_the_good_scores_are() -> None:
    space = Space.model_validate({"warmup_steps": {"int": [0, 500]}})
    misses = []
    for seed in range(3):
        searcher = modelled(space, seed, trials=50, initial_random=10)
        for i in range(50):
            miss = abs(searcher.suggest(f"trial{i}")["warmup_steps"] - 400)
            searcher.on_trial_complete(f"trial{i}", {"metrics/accuracy": -miss})
            misses += [miss] if i >= 10 else []
    assert np.median(misses) < 110  # of random draws: 150


def test_hyperopt_turns_away_from_where_trials_fail() -> None:
    """Half of the space fails. Ray's own searcher forgets what failed, and proposes its like again."""
    space = Space.model_validate({"learning_rate": {"loguniform": [1e-5, 1e-1]}})
    failures = 0
    for seed in range(3):
        searcher = modelled(space, seed, trials=40, initial_random=10)
        for i in range(40):
            exponent = math.log10(searcher.suggest(f"trial{i}")["learning_rate"])
            failed = exponent > -3
            score = None if failed else {"metrics/accuracy": -abs(exponent + 3.5)}
            searcher.on_trial_complete(f"trial{i}", score, error=failed)
            failures += failed and i >= 10
    assert failures < 3 * 30 * MOST_FAILURES


def test_more_random_trials_than_trials_are_refused() -> None:
    with pytest.raises(ValidationError, match="initial_random: 9 must be at most trials: 8"):
        make("hyperopt", trials=8, initial_random=9)


def test_a_failed_trial_that_runs_again_counts_with_its_score() -> None:
    """The next proposal is the one that would follow without the failure in between."""

    def proposed_after(ends: list[tuple[int, float | None]]) -> object:
        searcher = modelled(trials=6, initial_random=4)
        for i in range(5):
            searcher.suggest(f"trial{i}")
        for i, score in ends:
            result = None if score is None else {"metrics/accuracy": score}
            searcher.on_trial_complete(f"trial{i}", result, error=score is None)
        return searcher.suggest("next")

    failed = [(i, None) for i in range(5)]
    at_once = [(i, 0.5 if i == 2 else None) for i in range(5)]
    assert proposed_after([*failed, (2, 0.5)]) == proposed_after(at_once) != proposed_after(failed)
