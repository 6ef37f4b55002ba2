"""Where no strategy is better, the comparison says so: the quick form of `benchmarks/false_alarms.py`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.false_alarms import EQUAL, PLANTED, Setting, claims, simulated

pytestmark = pytest.mark.unit

COUNT = 120
MOST = 0.09  # 5 % of 120 and twice the error of such a count


@pytest.mark.parametrize(
    "name", ["3 x 5, each strategy its own rows", "7 x 3", "2 x 5, the worst 30 % lost", "3 x 5, a metric without rows"]
)
def test_at_most_one_in_twenty_experiments_without_a_difference_claims_one(name: str) -> None:
    assert claims(EQUAL[name]._replace(rows=150), COUNT).false <= MOST


def test_one_seed_never_claims_a_difference_though_its_models_differ_more_often_than_not() -> None:
    """A test over rows alone is right about the models and would be wrong about the strategies."""
    rng = np.random.default_rng(0)
    found = [simulated(rng, Setting(3, 1, 277, 0.5)) for _ in range(40)]
    assert not any(pair.shown for pairs in found for pair in pairs)
    assert sum(any((pair.corrected or 1) <= 0.05 for pair in pairs) for pairs in found) > 20


def test_a_planted_difference_is_found_more_often_the_larger_it_is() -> None:
    small, large = (claims(Setting(3, 5, 150, 0.1, ahead=ahead), 25).true for ahead in (0.2, 1.5))
    assert large > 0.9 > small


def test_the_rows_that_seeds_do_not_share_are_not_counted_twice() -> None:
    """With the whole error of the rows on top of that between seeds, 69 % were found."""
    setting = PLANTED["3 x 5, 1,000 rows, one ahead by 0.3 logit"]
    assert claims(setting, 150).true >= 0.75
