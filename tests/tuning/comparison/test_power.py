"""Tests what a number of seeds can detect, against statsmodels: power, detectable difference, seeds needed."""

from __future__ import annotations

import numpy as np
import pytest

from tuning.comparison.power import detectable, detectable_before, power, seeds_needed
from tuning.comparison.scores import Spread

pytestmark = pytest.mark.unit


def test_the_power_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    known = TTestPower()
    for size, seeds in ((0.5, 20), (1.0, 6), (2.0, 4)):
        at = Spread(1.0 / seeds, seeds - 1, 0.0)
        assert power(size, at, seeds, 0.05) == pytest.approx(known.power(size, seeds, 0.05), abs=1e-6)
    assert seeds_needed(0.5, Spread(1.0 / 5, 4, 0.0), 5, 0.05) == (
        34,
        False,
        False,
    )  # Cohen's d of 0.5, Cohen (1988)


def test_the_power_grows_with_the_difference_everywhere() -> None:
    """scipy's noncentral t is NaN for some of these arguments."""
    for freedom, alpha in ((2, 0.01), (4, 0.0167)):
        at = Spread(1.0, freedom, 0.0)
        found = [power(size, at, freedom + 1, alpha) for size in np.linspace(0.0, 3 * at.half_width(alpha), 400)]
        assert (np.diff(found) > 0).all()


def test_the_detectable_difference_is_what_statsmodels_finds_in_80_of_100() -> None:
    from statsmodels.stats.power import TTestPower

    for seeds, alpha in ((5, 0.05), (5, 0.05 / 3), (10, 0.02)):
        known = TTestPower().solve_power(nobs=seeds, alpha=alpha, power=0.8)
        assert detectable(Spread(1.0 / seeds, seeds - 1, 0.0), seeds, alpha) == pytest.approx(known, rel=1e-4)
    one_model = Spread(0.0, np.inf, 0.01**2)
    assert detectable(one_model, 1, 0.05) == pytest.approx(0.01 * (1.95996 + 0.84162), rel=1e-3)
    assert detectable(Spread(0.0, 2, 0.0), 3, 0.05) is None


def test_what_seeds_and_rows_can_tell_is_known_before_anything_is_run() -> None:
    """The reference is a paired t-test of five seeds whose differences have sd root(2 x 0.01^2 + 0.1 / 1,000)."""
    from statsmodels.stats.power import TTestPower

    size = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert detectable_before(5, 1000, 2) == pytest.approx(size * np.sqrt(3e-4), rel=1e-4)
    several = [detectable_before(5, 1000, strategies) or 0 for strategies in (2, 3, 7)]
    assert several == sorted(several)
    assert (detectable_before(2, 1000, 3), detectable_before(5, 1000, 1)) == (None, None)


def test_some_differences_need_more_than_a_hundred_seeds_and_some_no_number_of_them() -> None:
    assert seeds_needed(0.1, Spread(1.0 / 5, 4, 0.0), 5, 0.05) == (None, True, False)
    assert seeds_needed(0.01, Spread(1e-9, 4, 0.01**2), 5, 0.05) == (None, True, True)  # the rows alone hide it
    assert seeds_needed(0.0, Spread(1.0, 4, 0.0), 5, 0.05) == (None, True, False)
    assert seeds_needed(0.1, Spread(0.0, 4, 0.0), 5, 0.05) == (6, False, False)  # equal differences: 2/2^6 is below 5 %
