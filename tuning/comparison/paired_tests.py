"""Statistical tests of the difference between two strategies, configurations or models on the test split.

Over seeds: the paired t-test on the differences per seed, with the error of the test rows added (see `scores`). Colas,
Sigaud and Oudeyer (2018, arXiv:1806.08295) find that t-tests keep their level with few seeds where bootstrap tests do
not. The sign-flip permutation test is reported as a check. With fewer than six seeds it cannot reach 5 %; it decides
only if all differences are equal, where a t-test has no variance to divide by. Which p makes a strategy better is
decided in `tuning.comparison.pairs`, after the correction in `multiple_comparisons`.

One seed says nothing about strategies. McNemar's test on its rows compares two models, the t-test over training seeds
compares two configurations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from tuning.comparison.scores import PROPORTIONS, Spread, StudyScores, common_error, rows_error, same_rows
from tuning.comparison.types import Covers

SAME = 1e-12  # differences that are closer than this count as equal
MAX_FLIPPED = 16  # seeds up to which all 2^n assignments of signs are enumerated; for more, 2^16 are drawn
DIGITS = 12  # of a sum of differences: rounding errors of additions are smaller


class Tested(NamedTuple):
    """The result of testing one difference."""

    test: str  # its name
    p: float | None  # two-sided; None: no test is possible
    spread: Spread | None  # None: the test uses counts, or is impossible


def tested_difference(a: list[StudyScores], b: list[StudyScores], metric: str) -> Tested:
    """Tests the mean difference of two strategies' scores.

    Args:
        a: scores of the first strategy, one per seed.
        b: scores of the second strategy with the same seeds.
        metric: of the objective.
    """
    about, _ = compared_units(a, b)
    return _over_seeds(a, b, metric) if about == "strategies" else _of_one_seed(a[0], b[0], metric, about)


def sign_flip(differences: np.ndarray) -> float:
    """Returns the two-sided p of the sign-flip permutation test of whether the mean of paired differences is 0.

    It is exact up to MAX_FLIPPED differences (R. A. Fisher, The Design of Experiments, 1935, section 21); for more, the
    assignments of signs are drawn at random.
    """
    from scipy.stats import permutation_test

    if len(differences) < 2:  # scipy refuses one; both signs are equally extreme
        return 1.0
    found = permutation_test(
        (differences,),
        lambda flipped, axis: np.round(flipped.sum(axis=axis), DIGITS),
        permutation_type="samples",
        vectorized=True,
        n_resamples=1 << MAX_FLIPPED,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided p of McNemar's exact test (Psychometrika 12, 1947).

    Args:
        only_first: rows that only the first model predicted correctly.
        only_second: rows that only the second model predicted correctly.
    """
    from scipy.stats import binomtest

    rows = only_first + only_second
    return float(binomtest(only_first, rows).pvalue) if rows else 1.0


def compared_units(
    a: Sequence[StudyScores], b: Sequence[StudyScores]
) -> tuple[Literal["strategies", "configurations", "models"], Covers]:
    """Returns what the scores of two strategies compare, and the unit that is repeated."""
    if len(a) > 1:
        return "strategies", "seeds"
    if len(a[0].scores) > 1 and a[0].trainings == b[0].trainings:
        return "configurations", "trainings"
    return "models", "rows"


def differences_of(a: Sequence[StudyScores], b: Sequence[StudyScores]) -> np.ndarray:
    """Returns the differences of mean scores, seed by seed: (seeds,)."""
    return np.array([one.score - other.score for one, other in zip(a, b, strict=True)])


def _over_seeds(a: list[StudyScores], b: list[StudyScores], metric: str) -> Tested:
    """Runs the paired t-test over seeds, with the error of the rows if it is known."""
    differences = differences_of(a, b)
    units = float(differences.var(ddof=1)) / len(a)
    spread = Spread(0.0 if np.ptp(differences) < SAME else units, len(a) - 1, _rows_error(a, b, metric))
    p = _two_sided(float(differences.mean()), spread)
    if not spread.units:  # the t-test has no variance to divide by, and rows alone say nothing of seeds
        flipped = sign_flip(differences)
        return Tested("exact sign-flip test over seeds, whose differences are all equal", max(p, flipped), spread)
    test = "paired t-test over seeds and test rows" if spread.rows else "paired t-test over seeds"
    return Tested(test, p, spread)


def _of_one_seed(a: StudyScores, b: StudyScores, metric: str, about: str) -> Tested:
    difference, rows = a.score - b.score, _rows_error([a], [b], metric)
    if about == "configurations":
        differences = np.subtract(a.scores, b.scores)
        spread = Spread(float(differences.var(ddof=1)) / len(differences), len(differences) - 1, rows)
        return Tested("paired t-test over training seeds and test rows", _two_sided(difference, spread), spread)
    spread_of_rows = Spread(0.0, math.inf, rows) if rows else None
    if metric in PROPORTIONS and same_rows([a, b]):
        right, also = (np.equal(t.scored_rows[0].labels, t.scored_rows[0].predictions) for t in (a, b))
        return Tested(
            "McNemar's exact test", mcnemar(int((right & ~also).sum()), int((also & ~right).sum())), spread_of_rows
        )
    if spread_of_rows is None:
        return Tested("no test: the uncertainty of the score is unknown", None, None)
    test = "bootstrap over test rows" if same_rows([a, b]) else "unpaired z-test over test rows"
    return Tested(test, _two_sided(difference, spread_of_rows), spread_of_rows)


def _rows_error(a: list[StudyScores], b: list[StudyScores], metric: str) -> float:
    """Returns the squared standard error that the test rows give the mean difference in all seeds alike.

    It is paired if the rows are recorded.
    """
    if same_rows((*a, *b)):
        return common_error(np.array([one.bootstrap - other.bootstrap for one, other in zip(a, b, strict=True)]))  # type: ignore[operator]
    return rows_error(a, metric) + rows_error(b, metric)


def _two_sided(difference: float, spread: Spread) -> float:
    return spread.p(difference) if spread.error else float(difference == 0)
