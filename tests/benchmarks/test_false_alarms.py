"""The comparison finds no difference if no strategy is better: the quick form of `benchmarks/false_alarms.py`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.false_alarm_regimes import AS_LARGE, EQUAL, GROWING, PLANTED, REGIMES, Setting
from benchmarks.false_alarms import RESULTS, Found, claims, line_of, simulated, true_difference

pytestmark = pytest.mark.unit

COUNT = 120
MOST = 0.09  # 5 % of 120 and twice the error of such a count


@pytest.mark.parametrize(
    "name", ["3 x 5, each strategy its own rows", "7 x 3", "2 x 5, the worst 30 % lost", "3 x 5, a metric without rows"]
)
def test_at_most_one_in_twenty_experiments_without_a_difference_claims_one(name: str) -> None:
    assert claims(EQUAL[name]._replace(rows=150), COUNT).false <= MOST


@pytest.mark.parametrize("name", ["2 x 5, as large as matters", "3 x 5, as large as matters"])
def test_at_most_one_in_twenty_experiments_calls_a_difference_small_that_is_as_large_as_matters(name: str) -> None:
    assert claims(AS_LARGE[name]._replace(rows=1000), COUNT).false <= MOST


def test_a_difference_that_is_much_smaller_than_matters_is_called_so() -> None:
    """It is claimed of two strategies that do not differ; or the share above would be that of saying nothing."""
    assert claims(AS_LARGE["3 x 5, as large as matters"]._replace(rows=1000, ahead=1.0), 25).true > 0.9


def test_the_true_difference_is_what_endless_rows_come_to() -> None:
    setting = AS_LARGE["2 x 5, skewed, as large as matters"]._replace(seeds=200, rows=20_000, kept=False)
    (pair,) = simulated(np.random.default_rng(0), setting)
    assert abs(pair.difference) == pytest.approx(true_difference(setting), abs=0.004)


@pytest.mark.parametrize("name", ["3 x 3 to 10, a verdict after each seed, all planned", *list(GROWING)[2:3]])
def test_looking_after_each_added_seed_claims_falsely_as_seldom_as_looking_once(name: str) -> None:
    """With the whole 5 % for each look, 15 to 23 % would be claimed."""
    assert claims(GROWING[name]._replace(rows=150, seeds=8), COUNT).false <= MOST


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
    """With the whole error of the rows on top of that between seeds 30 % were found, and 42 % by one pair at least."""
    setting = PLANTED["3 x 5, 1,000 rows, the baseline ahead by 0.2 logit"]
    assert claims(setting, 150).each >= 0.42


def test_the_committed_table_has_every_regime_and_keeps_what_the_readme_says() -> None:
    record = json.loads((RESULTS / "false_alarms.json").read_text())
    readme = (RESULTS.parent / "README.md").read_text()
    for kind, settings in REGIMES.items():
        assert list(record[kind]) == list(settings)
        for name, found in record[kind].items():
            told = Found(*(found[field] for field in Found._fields))
            assert line_of(name, told, planted="planted" in kind) in readme
    for kind in ("no difference", "growing", "as large as matters"):
        assert max(found["false"] for found in record[kind].values()) <= 0.06
    pairs = {name: one["each"] for name, one in record["planted"].items()}
    for ahead, least, with_baseline in ((0.2, 0.45, 0.52), (0.3, 0.81, 0.87)):
        assert pairs[f"3 x 5, 1,000 rows, one ahead by {ahead} logit"] >= least
        assert pairs[f"3 x 5, 1,000 rows, the baseline ahead by {ahead} logit"] >= with_baseline
