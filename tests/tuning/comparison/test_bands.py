"""Tests the coverage and width of the simultaneous band of a mean curve."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from tuning.comparison.bands import DRAWN_AT, FEWEST, rising_band

pytestmark = pytest.mark.unit

COSTS, TRIALS = 40, 20


def best_so_far(rng: np.random.Generator, seeds: int) -> np.ndarray:
    """Simulates random searches with scores close to 1, as accuracies are, and trials of unequal duration."""
    scores = np.maximum.accumulate(rng.beta(5, 1.2, size=(seeds, TRIALS)), axis=1)
    ends = np.cumsum(rng.uniform(0.5, 1.5, size=(seeds, TRIALS)), axis=1)
    at = np.linspace(1.5, TRIALS, COSTS)
    return np.stack([own[np.searchsorted(end, at, side="right") - 1] for own, end in zip(scores, ends, strict=True)])


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_whole_true_curve_lies_in_the_band_in_nine_of_ten_experiments(seeds: int) -> None:
    """Pointwise t-intervals contain the whole curve in about two thirds of experiments."""
    rng = np.random.default_rng(0)
    truth, count = best_so_far(rng, 20_000).mean(axis=0), 100
    held, pointwise = 0, 0
    for _ in range(count):
        curves = best_so_far(rng, seeds)
        found = rising_band(curves)
        assert found is not None
        held += bool(((found[0] <= truth) & (truth <= found[1])).all())
        half = t.ppf(0.975, seeds - 1) * curves.std(axis=0, ddof=1) / np.sqrt(seeds)
        pointwise += bool((np.abs(curves.mean(axis=0) - truth) <= half).all())
    assert held >= 0.9 * count > pointwise + 0.1 * count


def test_at_a_single_cost_it_is_the_interval_of_students_t() -> None:
    scores = np.array([[0.1], [0.25], [0.3], [0.2]])
    found = rising_band(scores)
    assert found is not None
    half = t.ppf((1 + DRAWN_AT) / 2, 3) * scores.std(ddof=1) / 2
    assert (found[1] - found[0])[0] / 2 == pytest.approx(half, rel=0.1)  # 2,000 draws
    assert (found[0] + found[1])[0] / 2 == pytest.approx(scores.mean())


def test_seeds_that_agree_somewhere_by_chance_do_not_close_the_band_there() -> None:
    curves = np.array([[0.1, 0.5, 0.6], [0.2, 0.5, 0.7], [0.4, 0.5, 0.8]])
    found = rising_band(curves)
    assert found is not None
    assert (found[1] - found[0] > 0.1).all()


def test_neither_end_falls_and_the_mean_lies_between() -> None:
    curves = best_so_far(np.random.default_rng(1), 4)
    found = rising_band(curves)
    assert found is not None
    for end in found:
        assert (np.diff(end) >= 0).all()
    assert (found[0] <= curves.mean(axis=0)).all()
    assert (curves.mean(axis=0) <= found[1]).all()


def test_there_is_none_below_three_seeds_or_of_seeds_that_are_all_the_same() -> None:
    curves = best_so_far(np.random.default_rng(1), FEWEST)
    assert FEWEST == 3
    assert rising_band(curves[:2]) is None
    assert rising_band(np.repeat(curves[:1], 5, axis=0)) is None
