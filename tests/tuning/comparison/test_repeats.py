"""Tests that search seeds with the same model count once, in whole experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.simulated_studies import run
from tests.support.specs import curve_experiment
from tuning import compare

pytestmark = pytest.mark.tune

STRATEGIES = [{"kind": "grid", "points": 2}, {"kind": "random", "trials": 2}]
HELD = {"data_order_seed": 0, "head_seed": 0}


def compared(folder: Path, **changed: object) -> tuple[int, list[str]]:
    """Returns the number of seeds that count, and the caveats about others."""
    spec = curve_experiment(folder, seeds=[0, 1, 2], strategies=STRATEGIES, **changed)
    outcome, _ = run(spec)
    comparison = compare(outcome, spec=spec.plain())
    (pair,) = comparison.pairs
    return pair.seeds, [
        caveat
        for caveat in comparison.caveats
        if caveat.startswith(("The same configuration and", "Not all seeds have"))
    ]


def test_with_all_training_seeds_held_a_strategy_that_always_chooses_the_same_is_observed_once(tmp_path: Path) -> None:
    seeds, caveats = compared(tmp_path, **HELD)
    assert seeds == 1
    assert caveats == [
        "The same configuration and training seeds as an earlier seed of the strategy: grid seeds 1, 2. Both are one "
        "observation, and count as one."
    ]


def test_with_one_of_them_free_every_search_seed_is_an_observation(tmp_path: Path) -> None:
    assert compared(tmp_path, head_seed=0) == (3, [])
