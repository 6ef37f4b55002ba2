"""The statistics over several tasks, against published tables, scipy and statsmodels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tuning.across.aggregates import (
    bootstrap_seeds,
    interquartile_means,
    normalise,
    percentile_interval,
    performance_profile,
    probability_of_improvement,
    profile_thresholds,
)
from tuning.across.significance import friedman, rank_means, signed_ranks, smallest_p, tasks_needed, wilcoxon_p
from tuning.comparison.multiple_comparisons import holm

pytestmark = pytest.mark.unit


# Demsar, JMLR 7 (2006), table 6: AUC of C4.5, with m, with cf, with both, on 14 data sets.
DEMSAR = np.array([
    (0.763, 0.768, 0.771, 0.798), (0.599, 0.591, 0.590, 0.569), (0.954, 0.971, 0.968, 0.967),
    (0.628, 0.661, 0.654, 0.657), (0.882, 0.888, 0.886, 0.898), (0.936, 0.931, 0.916, 0.931),
    (0.661, 0.668, 0.609, 0.685), (0.583, 0.583, 0.563, 0.625), (0.775, 0.838, 0.866, 0.875),
    (1.000, 1.000, 1.000, 1.000), (0.940, 0.962, 0.965, 0.962), (0.619, 0.666, 0.614, 0.669),
    (0.972, 0.981, 0.9751, 0.9750), (0.957, 0.978, 0.946, 0.970),
])  # fmt: skip


def test_ranks_and_friedmans_test_are_those_of_demsars_table() -> None:
    ranks = np.array([rank_means(row, "max") for row in DEMSAR])
    assert ranks.mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    found = friedman(ranks)
    ties = 1 - (3 * 6 + 60) / (14 * 4 * (4**2 - 1))  # his 9.28 is not corrected for ties
    assert found.statistic * ties == pytest.approx(9.28, abs=0.01)
    assert not found.exact
    assert 0.008 < found.p < 0.03  # by his F: 0.02; by chi squared: 0.017
    assert rank_means((3.0, 1.0, 2.0), "min") == (3, 1, 2)


def test_friedmans_p_is_exact_for_few_tasks() -> None:
    """The reference is Friedman's table (JASA 32, 1937) for three strategies."""
    one, other = (1.0, 2.0, 3.0), (1.0, 3.0, 2.0)
    for ranks, statistic, p in (([one] * 3, 6.0, 0.028), ([one] * 3 + [other], 6.5, 0.042), ([one] * 4, 8.0, 0.0046)):
        found = friedman(np.array(ranks))
        assert found.exact
        assert (found.statistic, found.p) == (pytest.approx(statistic), pytest.approx(p, abs=5e-4))
    assert friedman(np.full((4, 3), 2.0)).p == 1.0


def test_wilcoxons_test_is_that_of_demsars_example() -> None:
    """Demsar (2006), table 2, has sums of ranks of 93 and 12, and 21 as the critical value for 5 %."""
    differences = np.round(DEMSAR[:, 1] - DEMSAR[:, 0], 3)
    assert signed_ranks(differences) == pytest.approx(93 - 12)
    assert wilcoxon_p(differences) < 0.05
    assert wilcoxon_p(np.array([5.0, -3.0, 4.0, -6.0, 1.0])) > 0.5
    assert wilcoxon_p(np.zeros(9)) == 1.0


@pytest.mark.parametrize("tasks", [3, 5, 6, 7, 12])
def test_no_p_over_tasks_is_smaller_than_that_of_one_who_is_always_ahead(tasks: int) -> None:
    assert wilcoxon_p(np.arange(1.0, tasks + 1)) == pytest.approx(smallest_p(tasks)) == pytest.approx(2 / 2**tasks)
    assert wilcoxon_p(np.ones(tasks)) == pytest.approx(smallest_p(tasks))  # ties: of normalised scores of two


def test_holm_agrees_with_statsmodels_and_the_tasks_that_it_takes_are_counted() -> None:
    from statsmodels.stats.multitest import multipletests

    found = [0.02, 0.004, 0.3, 0.02, 0.9]
    pairs = list(combinations("abcde", 2))[: len(found)]
    assert holm(pairs, found, None) == pytest.approx(multipletests(found, method="holm")[1])
    assert [tasks_needed(1 / pairs) for pairs in (1, 3, 6, 10)] == [6, 7, 8, 9]


def test_scores_are_normalised_between_the_worst_and_the_best_mean_in_either_direction() -> None:
    assert normalise(np.array([0.5, 0.6, 0.9]), (0.5, 0.7), "max") == pytest.approx([0.0, 0.5, 2.0])
    assert normalise(np.array([3.0, 2.0, 1.0]), (3.0, 1.0), "min") == pytest.approx([0.0, 0.5, 1.0])
    assert normalise(np.array([0.5]), (0.5, 0.5), "max") is None


def test_interquartile_means_profiles_and_chances_are_those_that_a_reader_counts() -> None:
    scores = [np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.2, 0.4], [0.3, 0.3]])]
    assert interquartile_means(scores) == pytest.approx([0.3, 0.4])  # of 0, 0.2, 0.4, 1 the two in the middle
    assert performance_profile(scores, 0, np.array([-0.1, 0.0, 0.3, 1.0])) == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert probability_of_improvement(scores, 0, 1) == 0.5
    uneven = [np.array([[3.0, 4.0, 5.0], [1.0, 4.0, 2.0]])]
    from scipy.stats import mannwhitneyu

    assert probability_of_improvement(uneven, 0, 1) == mannwhitneyu(uneven[0][0], uneven[0][1]).statistic / 9
    assert probability_of_improvement(uneven, 1, 0) == pytest.approx(1 - probability_of_improvement(uneven, 0, 1))
    ends = profile_thresholds([np.array([[-0.304, 40.0]])])
    assert (ends[0], ends[-1], 0.5 in ends) == (-0.31, 2.0, True)


def test_intervals_hold_as_often_as_they_say_for_a_few_seeds() -> None:
    """If n of n seeds were drawn, they would cover 87 of 100 experiments with six tasks and three seeds."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(150):
        drawn = bootstrap_seeds([rng.normal(size=(2, 3)) for _ in range(6)])
        assert drawn is not None
        found = percentile_interval(probability_of_improvement(drawn, 0, 1), 18)
        assert found is not None
        held += found.low <= 0.5 <= found.high
    assert 0.9 * 150 <= held <= 0.99 * 150
    assert bootstrap_seeds([np.zeros((2, 3)), np.zeros((2, 1))]) is None
    assert percentile_interval(np.ones(50), 9) is None
