"""Test scores of studies and strategies, with their confidence intervals.

The interval of a mean over seeds adds two variances: that between seeds, divided by their number, and that which other
test rows would cause in all seeds alike, by the bootstrap over rows. (A bootstrap over seeds would estimate the first
one too small by (n-1)/n: with five seeds a percentile interval covers 83 %, not 95 %.) An effect of rows that differs
between seeds is part of the variance between seeds already, so `common_error` leaves it out. The half-width is the root
of t^2 x seeds + z^2 x rows, where t has the degrees of freedom of the seeds (Graybill and Wang, JASA 75, 1980). It is
never narrower than that of either source. (Satterthwaite's t can be, if three seeds agree by chance: 95 of a thousand
simulated experiments without a difference then claimed one.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tuning.comparison.repeats import Model, confirmed_models, searched_models
from tuning.comparison.resampling import bootstrap_scores
from tuning.comparison.types import Covers, Estimate, Interval
from tuning.outcome import ScoredRows, StudyOutcome

PROPORTIONS = frozenset(
    {"accuracy"}
)  # metrics that are a share of correct rows, whose error follows from the number of rows
Z95 = 1.959963984540054
SMALLEST_P = 1e-12  # smaller p values are not computed
SAME_SCORE = 1e-4  # tolerance between a recorded score and the one recomputed from rows: float32 rounding


@dataclass(frozen=True)
class StudyScores:
    """The test scores of one study: of one model, or of each training of the confirmed configuration."""

    seed: int  # of the search
    scores: tuple[float, ...]  # one per training
    rows: int  # number of test rows; 0: unknown
    scored_rows: tuple[ScoredRows, ...] = ()  # predictions, one per training; (): not recorded
    trainings: tuple[int, ...] = ()  # seeds of the trainings, equal for all strategies; (): not confirmed
    bootstrap: np.ndarray | None = None  # (DRAWS,): mean score over trainings on each draw of rows
    models: frozenset[Model] = (
        frozenset()
    )  # the scored models; empty: unknown, which counts as different from other seeds

    @property
    def score(self) -> float:
        """The mean test score over trainings."""
        return math.fsum(self.scores) / len(self.scores)


class Spread(NamedTuple):
    """The squared standard error of a mean or difference, split by source."""

    units: float  # from seeds or trainings
    freedom: float  # degrees of freedom of `units`: their number - 1; infinite without them
    rows: float  # from test rows

    @property
    def error(self) -> float:
        """The total standard error."""
        return math.sqrt(self.units + self.rows)

    def half_width(self, alpha: float) -> float:
        """Returns the half-width of a 1 - `alpha` confidence interval."""
        from scipy.special import ndtri, stdtrit

        rows = self.rows * float(ndtri(1 - alpha / 2)) ** 2
        return math.sqrt(rows + (self.units * float(stdtrit(self.freedom, 1 - alpha / 2)) ** 2 if self.units else 0.0))

    def p(self, difference: float) -> float:
        """Returns the two-sided p: the `alpha` at which the interval around `difference` ends at 0."""
        from scipy.optimize import brentq
        from scipy.special import ndtr, stdtr

        size = abs(difference)
        if not self.rows:
            return 2 * float(stdtr(self.freedom, -size / self.error))
        if not self.units:
            return 2 * float(ndtr(-size / self.error))
        if size == 0 or self.half_width(SMALLEST_P) <= size:
            return 1.0 if size == 0 else SMALLEST_P
        return math.exp(brentq(lambda power: self.half_width(math.exp(power)) - size, math.log(SMALLEST_P), 0.0))


def study_scores(study: StudyOutcome) -> StudyScores | None:
    """Returns the test scores of a study; None without any.

    They are those of the confirmed trainings if these were tested, else that of the model that the search chose. A
    search whose score is not finite counts as failed and has none.
    """
    found = _scored(study)
    return found if found is not None and np.isfinite(found.scores).all() else None


def not_finite(study: StudyOutcome) -> bool:
    """Returns True if a study has a test score that is infinite or NaN."""
    found = _scored(study)
    return found is not None and not np.isfinite(found.scores).all()


def _scored(study: StudyOutcome) -> StudyScores | None:
    trainings = study.confirmed()
    tests = [(one.test, one.rows) for one in trainings if one.test is not None and study.metric in one.test]
    if tests and len(tests) == len(trainings):
        recorded = tuple(rows for _, rows in tests if rows is not None)
        whole = recorded if len(recorded) == len(tests) else ()
        scores = tuple(test[study.metric] for test, _ in tests)
        seeds = tuple(one.seed for one in trainings)
        models = confirmed_models(trainings)
        return StudyScores(study.seed, scores, len(whole[0].labels) if whole else 0, whole, seeds, models=models)
    if study.test is None or study.metric not in study.test.metrics:
        return None
    score = study.test.metrics[study.metric]
    rows = () if study.test.scored is None else (study.test.scored,)
    return StudyScores(study.seed, (score,), study.test.rows, rows, models=searched_models(study))


def with_bootstrap(
    tests: Mapping[str, Sequence[StudyScores | None]], metric: str
) -> dict[str, list[StudyScores | None]]:
    """Adds the bootstrap scores over test rows; studies with the same rows share the draws.

    A study gets none if its rows are not recorded, or do not reproduce its recorded score (as with another metric of
    the same name).
    """
    found = {
        id(test): test for tests_of in tests.values() for test in tests_of if test is not None and test.scored_rows
    }
    by_labels: dict[tuple[float, ...], list[int]] = {}
    for key, test in found.items():
        if len({one.labels for one in test.scored_rows}) == 1:
            by_labels.setdefault(test.scored_rows[0].labels, []).append(key)
    for labels, keys in by_labels.items():
        predictions = np.array([one.predictions for key in keys for one in found[key].scored_rows], dtype=float)
        recorded = np.array([score for key in keys for score in found[key].scores], dtype=float)
        if (computed := bootstrap_scores(metric, np.array(labels, dtype=float), predictions, recorded)) is None:
            continue
        own, drawn = computed
        ends = np.cumsum([len(found[key].scored_rows) for key in keys])
        for key, part, draws in zip(keys, np.split(own, ends[:-1]), np.split(drawn, ends[:-1], axis=1), strict=True):
            if np.allclose(part, found[key].scores, atol=SAME_SCORE, rtol=0.0):
                found[key] = replace(found[key], bootstrap=draws.mean(axis=1))
    return {
        name: [None if test is None else found.get(id(test), test) for test in tests_of]
        for name, tests_of in tests.items()
    }


def same_rows(tests: Iterable[StudyScores]) -> bool:
    """Returns True if all have bootstrap scores on the same rows."""
    found = list(tests)
    if any(test.bootstrap is None for test in found):
        return False
    labels = found[0].scored_rows[0].labels
    return all(test.scored_rows[0].labels is labels or test.scored_rows[0].labels == labels for test in found)


def mean_estimate(tests: Sequence[StudyScores], metric: str) -> Estimate:
    """Returns the mean over seeds with its confidence interval."""
    if len(tests) == 1:
        return Estimate(tests[0].score, study_interval(tests[0], metric))
    scores = np.array([test.score for test in tests])
    spread = Spread(_error(scores), len(tests) - 1, rows_error(tests, metric))
    return _estimate(float(scores.mean()), spread, tests, metric, "seeds")


def study_interval(test: StudyScores, metric: str) -> Interval | None:
    """Returns the interval of one study's test score, over rows and, if there are several, trainings."""
    if len(test.scores) > 1:
        spread = Spread(_error(np.array(test.scores)), len(test.scores) - 1, rows_error([test], metric))
        return _estimate(test.score, spread, [test], metric, "trainings").interval
    if metric in PROPORTIONS and test.rows:
        return wilson_interval(test.score, test.rows)
    if test.bootstrap is None:
        return None
    low, high = np.quantile(test.bootstrap, (0.025, 0.975)).tolist()
    return Interval(low, high, test.rows)


def rows_known(tests: Sequence[StudyScores], metric: str) -> bool:
    """Returns True if the error that the choice of test rows causes is known."""
    return same_rows(tests) or (metric in PROPORTIONS and all(test.rows for test in tests))


def rows_error(tests: Sequence[StudyScores], metric: str) -> float:
    """Returns the squared standard error of the mean over `tests` that the test rows cause in all of them alike.

    Effects that differ between `tests` are in their variance already. If the rows are not recorded, a share of correct
    rows has at most the error of a single model; for other metrics the error is unknown and counts as 0.
    """
    rows = min(test.rows for test in tests)
    if same_rows(tests):
        return common_error(np.array([test.bootstrap for test in tests], dtype=float))
    if metric in PROPORTIONS and rows:
        share = float(np.mean([test.score for test in tests]))
        return share * (1 - share) / rows
    return 0.0


def common_error(drawn: np.ndarray) -> float:
    """Returns the variance over draws of rows that all seeds have in common.

    With a common variance c and an own variance r per seed, the mean over n seeds has c + r / n, and one seed c + r.

    Args:
        drawn: (seeds, draws), scores or differences.
    """
    seeds = len(drawn)
    if seeds == 1:
        return float(drawn[0].var(ddof=1))
    of_mean, of_each = float(drawn.mean(axis=0).var(ddof=1)), float(drawn.var(axis=1, ddof=1).mean())
    return max(0.0, (seeds * of_mean - of_each) / (seeds - 1))


def wilson_interval(share: float, rows: int) -> Interval:
    """Returns Wilson's 95 % interval for a share of correct rows (E. B. Wilson, JASA 22, 1927, 209-212)."""
    z2 = Z95**2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return Interval(centre - half, centre + half, rows)


def _estimate(value: float, spread: Spread, tests: Sequence[StudyScores], metric: str, units: Covers) -> Estimate:
    half = spread.half_width(0.05)
    low, high = value - half, value + half
    if metric in PROPORTIONS:
        low, high = max(0.0, low), min(1.0, high)
    rows = min(test.rows for test in tests) if spread.rows else 0
    covers: tuple[Covers, ...] = ("rows", units) if rows else (units,)
    return Estimate(value, Interval(low, high, rows, len(tests), covers))


def _error(scores: np.ndarray) -> float:
    """Returns the squared standard error of the mean of independent scores."""
    return float(scores.var(ddof=1)) / len(scores)
