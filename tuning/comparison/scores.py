"""Test scores and their intervals: of one study, and of a strategy over its seeds.

The interval of a mean over seeds adds up two variances: that between the seeds, divided by their number, and that which
other test rows would cause in all seeds alike, by the bootstrap over rows. (The bootstrap over seeds of a mean has the
first as its closed form, too small by (n-1)/n: of five seeds a percentile interval covers 83 %, not 95.) What rows
cause in one seed and not in the next is in the spread between the seeds: `common_error` leaves it out. The half-width
is the root of t^2 x seeds + z^2 x rows, t with the degrees of freedom of the seeds (Graybill and Wang, JASA 75, 1980):
never narrower than either alone. (Satterthwaite's t is, just when three seeds happen to agree: of a thousand simulated
experiments without a difference 95 then claimed one.)
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

PROPORTIONS = frozenset({"accuracy"})  # metrics that are a share of right rows: their spread is known without the rows
Z95 = 1.959963984540054
LEAST_P = 1e-12  # p values are not told apart below
SAME_SCORE = 1e-4  # a score recomputed from rows is the recorded one, within the rounding of float32


@dataclass(frozen=True)
class StudyScores:
    """What the test split says of one study: of one model, or of one per training of the confirmed configuration."""

    seed: int  # of the search
    scores: tuple[float, ...]  # one per training
    rows: int  # 0: not known
    said: tuple[ScoredRows, ...] = ()  # one per training; (): not recorded
    trainings: tuple[int, ...] = ()  # their seeds, which are the same for all strategies; (): not confirmed
    drawn: np.ndarray | None = None  # (DRAWS,): the mean score over trainings, on each draw of rows
    models: frozenset[Model] = frozenset()  # which were scored; empty: not known, so none of another seed's

    @property
    def score(self) -> float:
        """The mean over trainings."""
        return math.fsum(self.scores) / len(self.scores)


class Spread(NamedTuple):
    """Squared standard errors of a mean or a difference, by their source."""

    units: float  # seeds, or trainings
    freedom: float  # their number - 1; infinite without them
    rows: float

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.units + self.rows)

    def reach(self, alpha: float) -> float:
        """The half-width of a 1 - `alpha` interval."""
        from scipy.special import ndtri, stdtrit

        rows = self.rows * float(ndtri(1 - alpha / 2)) ** 2
        return math.sqrt(rows + (self.units * float(stdtrit(self.freedom, 1 - alpha / 2)) ** 2 if self.units else 0.0))

    def p(self, difference: float) -> float:
        """Two-sided: the `alpha` whose interval around `difference` ends at 0."""
        from scipy.optimize import brentq
        from scipy.special import ndtr, stdtr

        size = abs(difference)
        if not self.rows:
            return 2 * float(stdtr(self.freedom, -size / self.error))
        if not self.units:
            return 2 * float(ndtr(-size / self.error))
        if size == 0 or self.reach(LEAST_P) <= size:
            return 1.0 if size == 0 else LEAST_P
        return math.exp(brentq(lambda power: self.reach(math.exp(power)) - size, math.log(LEAST_P), 0.0))


def study_scores(study: StudyOutcome) -> StudyScores | None:
    """What the test split says of `study`: of the trainings of its confirmed configuration where those were tested,
    or of the model that its search chose; None: nothing, or a score that is no finite number: that search has failed.
    """
    found = _scored(study)
    return found if found is not None and np.isfinite(found.scores).all() else None


def not_finite(study: StudyOutcome) -> bool:
    """True if `study` has a test score that is infinite or no number."""
    found = _scored(study)
    return found is not None and not np.isfinite(found.scores).all()


def _scored(study: StudyOutcome) -> StudyScores | None:
    trainings = study.confirmed()
    tests = [(one.test, one.rows) for one in trainings if one.test is not None and study.metric in one.test]
    if tests and len(tests) == len(trainings):
        said = tuple(rows for _, rows in tests if rows is not None)
        whole = said if len(said) == len(tests) else ()
        scores = tuple(test[study.metric] for test, _ in tests)
        seeds = tuple(one.seed for one in trainings)
        models = confirmed_models(trainings)
        return StudyScores(study.seed, scores, len(whole[0].labels) if whole else 0, whole, seeds, models=models)
    if study.test is None or study.metric not in study.test.metrics:
        return None
    score = study.test.metrics[study.metric]
    said = () if study.test.scored is None else (study.test.scored,)
    return StudyScores(study.seed, (score,), study.test.rows, said, models=searched_models(study))


def with_bootstrap(
    tests: Mapping[str, Sequence[StudyScores | None]], metric: str
) -> dict[str, list[StudyScores | None]]:
    """`tests`, each with its scores on draws of rows that are common to all with the same rows. Without them: one whose
    rows are not recorded, or do not give its recorded score (another metric of the same name)."""
    found = {id(test): test for tests_of in tests.values() for test in tests_of if test is not None and test.said}
    by_labels: dict[tuple[float, ...], list[int]] = {}
    for key, test in found.items():
        if len({said.labels for said in test.said}) == 1:
            by_labels.setdefault(test.said[0].labels, []).append(key)
    for labels, keys in by_labels.items():
        predictions = np.array([said.predictions for key in keys for said in found[key].said], dtype=float)
        recorded = np.array([score for key in keys for score in found[key].scores], dtype=float)
        if (computed := bootstrap_scores(metric, np.array(labels, dtype=float), predictions, recorded)) is None:
            continue
        own, drawn = computed
        ends = np.cumsum([len(found[key].said) for key in keys])
        for key, part, draws in zip(keys, np.split(own, ends[:-1]), np.split(drawn, ends[:-1], axis=1), strict=True):
            if np.allclose(part, found[key].scores, atol=SAME_SCORE, rtol=0.0):
                found[key] = replace(found[key], drawn=draws.mean(axis=1))
    return {
        name: [None if test is None else found.get(id(test), test) for test in tests_of]
        for name, tests_of in tests.items()
    }


def same_rows(tests: Iterable[StudyScores]) -> bool:
    """Whether all can be drawn together: their rows are recorded, and the same."""
    found = list(tests)
    if any(test.drawn is None for test in found):
        return False
    labels = found[0].said[0].labels
    return all(test.said[0].labels is labels or test.said[0].labels == labels for test in found)


def mean_estimate(tests: Sequence[StudyScores], metric: str) -> Estimate:
    """The mean over seeds with its interval."""
    if len(tests) == 1:
        return Estimate(tests[0].score, study_interval(tests[0], metric))
    scores = np.array([test.score for test in tests])
    spread = Spread(_error(scores), len(tests) - 1, rows_error(tests, metric))
    return _estimate(float(scores.mean()), spread, tests, metric, "seeds")


def study_interval(test: StudyScores, metric: str) -> Interval | None:
    """The interval of one study's test score: over rows, and over trainings where there are several."""
    if len(test.scores) > 1:
        spread = Spread(_error(np.array(test.scores)), len(test.scores) - 1, rows_error([test], metric))
        return _estimate(test.score, spread, [test], metric, "trainings").interval
    if metric in PROPORTIONS and test.rows:
        return wilson_interval(test.score, test.rows)
    if test.drawn is None:
        return None
    low, high = np.quantile(test.drawn, (0.025, 0.975)).tolist()
    return Interval(low, high, test.rows)


def rows_known(tests: Sequence[StudyScores], metric: str) -> bool:
    """Whether the error that the choice of test rows gives a mean over `tests` is known."""
    return same_rows(tests) or (metric in PROPORTIONS and all(test.rows for test in tests))


def rows_error(tests: Sequence[StudyScores], metric: str) -> float:
    """The squared standard error that the choice of test rows gives a mean over `tests`, beyond what of it differs
    between them and is in their spread already.

    Where the rows are not recorded, a share of right rows has at most the error of a single model; other metrics: 0,
    for nothing is known of it.
    """
    rows = min(test.rows for test in tests)
    if same_rows(tests):
        return common_error(np.array([test.drawn for test in tests], dtype=float))
    if metric in PROPORTIONS and rows:
        share = float(np.mean([test.score for test in tests]))
        return share * (1 - share) / rows
    return 0.0


def common_error(drawn: np.ndarray) -> float:
    """The variance over draws of rows that all of `drawn` have in common: (seeds, draws) scores or differences.

    With c in common and r of each one's own the mean over n seeds varies by c + r / n, a single one by c + r.
    """
    seeds = len(drawn)
    if seeds == 1:
        return float(drawn[0].var(ddof=1))
    of_mean, of_each = float(drawn.mean(axis=0).var(ddof=1)), float(drawn.var(axis=1, ddof=1).mean())
    return max(0.0, (seeds * of_mean - of_each) / (seeds - 1))


def wilson_interval(share: float, rows: int) -> Interval:
    """Wilson's 95 % interval for a share of right rows among `rows` (E. B. Wilson, JASA 22, 1927, 209-212)."""
    z2 = Z95**2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z95 / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2))
    return Interval(centre - half, centre + half, rows)


def _estimate(value: float, spread: Spread, tests: Sequence[StudyScores], metric: str, units: Covers) -> Estimate:
    half = spread.reach(0.05)
    low, high = value - half, value + half
    if metric in PROPORTIONS:
        low, high = max(0.0, low), min(1.0, high)
    rows = min(test.rows for test in tests) if spread.rows else 0
    covers: tuple[Covers, ...] = ("rows", units) if rows else (units,)
    return Estimate(value, Interval(low, high, rows, len(tests), covers))


def _error(scores: np.ndarray) -> float:
    """The squared standard error of the mean of independent scores."""
    return float(scores.var(ddof=1)) / len(scores)
