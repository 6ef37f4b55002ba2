"""From runs of the closed-form trainable to the verdict: a planted difference is found, a planted tie is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import long_experiment, run
from tuning import Comparison, compare

pytestmark = pytest.mark.tune

NEAR = {"learning_rate": {"loguniform": [3e-4, 3e-3]}}  # around the best rate
FAR = {"learning_rate": {"loguniform": [1e-6, 1e-5]}}  # decades below it
SEEDS = (0, 1, 2)


def comparison_of(folder: Path, **spaces: dict[str, Any]) -> Comparison:
    """One strategy per space, called as its keyword: two independent draws per seed."""
    strategies = [{"kind": "random", "label": name, "trials": 2, "space": space} for name, space in spaces.items()]
    spec = long_experiment(folder, epochs=2, space=NEAR, strategies=strategies, seeds=list(SEEDS), test=True)
    return compare(run(spec)[0], spec=spec.model_dump(mode="json"))


def test_a_planted_difference_is_found_and_the_unequal_spaces_behind_it_are_reported(tmp_path: Path) -> None:
    comparison = comparison_of(tmp_path, far=FAR, near=NEAR)
    assert comparison.verdict.startswith("near did better than far: test accuracy")
    (pair,) = comparison.pairs
    assert (pair.first, pair.seeds, pair.shown) == ("near", len(SEEDS), True)
    assert [rank.strategy for rank in comparison.ranks] == ["near", "far"]
    assert comparison.best is comparison.rows[1]
    assert any("Unequal spaces: far" in caveat for caveat in comparison.caveats)
    near, far = comparison.rows[1].reach, comparison.rows[0].reach
    assert near is not None
    assert far is not None
    assert near.reached == len(SEEDS)  # the target is what the worse one ended at
    for row in comparison.rows:
        assert all(0 < step.cost <= curve.end for curve in row.anytime.curves for step in curve.steps)
        assert all(
            curve.end == study.device_seconds for curve, study in zip(row.anytime.curves, row.studies, strict=True)
        )


def test_a_planted_tie_is_no_difference(tmp_path: Path) -> None:
    """The same draws from the same space under two names."""
    comparison = comparison_of(tmp_path, one=NEAR, other=NEAR)
    assert comparison.verdict.startswith("No difference shown")
    assert not comparison.pairs[0].shown
    assert not any("Unequal spaces" in caveat for caveat in comparison.caveats)
