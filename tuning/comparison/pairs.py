"""Paired tests between strategies on the test split, and what more seeds would show.

Over seeds: the paired t-test on the differences of one seed each, with the error of the test rows added (see `scores`).
Colas, Sigaud and Oudeyer (2018, arXiv:1806.08295) find t-tests to keep their promise at few seeds where bootstrap tests
do not. The exact sign-flip test stands beside it as a check; below six seeds it cannot reach 5 % whatever the data:
it decides only where all differences are equal and a t-test has nothing to divide by.

One seed each tells nothing about strategies: McNemar's test on its rows is about two models, the t-test over training
seeds about two configurations, and neither ever makes `shown` true.

Intervals are simultaneous, each at the share of the 5 % that its pair has at the first step of the correction (see
`multiple`); where a later step shows a difference they end at 0 (Strassburger and Bretz, Statistics in Medicine 27,
2008). That two strategies do not differ by more than what matters takes two one-sided tests (Schuirmann, 1987), at
the same share.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from tuning.comparison.multiple_comparisons import correct_p_values, error_shares
from tuning.comparison.power import Needed, detectable, seeds_needed
from tuning.comparison.repeats import distinct_seeds
from tuning.comparison.scores import PROPORTIONS, Spread, StudyScores, common_error, rows_error, rows_known, same_rows
from tuning.comparison.types import Answer, Covers, Interval, Pair
from tuning.comparison.verdict_levels import ALPHA

FEWEST_SEEDS = 3  # that a statement about strategies may rest on
SAME = 1e-12  # differences that are no further apart are equal
FLIPPED = 16  # seeds up to which every assignment of signs is gone through; beyond, so many are drawn


class Tested(NamedTuple):
    """A test of one difference."""

    words: str
    p: float | None
    spread: Spread | None  # None: the test rests on counts, or on nothing


def pairs_of(
    tests: Mapping[str, Sequence[StudyScores | None]],
    metric: str,
    mode: str,
    *,
    baseline: str | None = None,
    worthwhile: float | None = None,
    lost: Mapping[str, Collection[int]] | None = None,
    rowless: bool = False,
    share: float = 1.0,
    unfinished: str | None = None,
) -> tuple[Pair, ...]:
    """Every two strategies that have a seed with a test score in common: the baseline's first, then the smallest p.

    A seed whose model another seed has come to, too, is no observation of its own and counts for nothing.

    Args:
        baseline: the strategy that the others are compared with first; None: all pairs count alike.
        worthwhile: the smallest difference that matters; None: not told.
        lost: by strategy, seeds whose search has no test score and nothing that stands for it.
        rowless: scores are exact: they rest on no rows that could have been others.
        share: of the error rate, that this verdict has (see `verdicts`); p and intervals are corrected for it.
        unfinished: why nothing may be claimed yet, in words.
    """
    sign = 1 if mode == "max" else -1
    by_seed = {name: {test.seed: test for test in found if test is not None} for name, found in tests.items()}
    matched = []
    for one, other in combinations(by_seed, 2):
        seeds = distinct_seeds(by_seed[one], by_seed[other])
        if not seeds:
            continue
        a, b = ([by_seed[name][seed] for seed in seeds] for name in (one, other))
        behind = sign * float(_differences(a, b).mean()) < 0
        matched.append((other, one, b, a) if behind else (one, other, a, b))
    names = [(first, second) for first, second, _, _ in matched]
    tested = [_tested(a, b, metric) for _, _, a, b in matched]
    alphas = [ALPHA * share * of_pair for of_pair in error_shares(names, baseline)] if names else []
    p_values = [
        None if p is None else min(1.0, p / share) for p in correct_p_values(names, [one.p for one in tested], baseline)
    ]
    found = []
    for (first, second, a, b), test, alpha, p in zip(matched, tested, alphas, p_values, strict=True):
        withheld = unfinished or _withheld(first, second, by_seed, lost or {})
        if withheld is None and not rowless:
            withheld = _without_rows(a, b, metric)
        pair = replace(_pair(first, second, a, b, mode, test, alpha, worthwhile), corrected=p, withheld=withheld)
        found.append(_judged(pair, test.spread, alpha, worthwhile))
    return tuple(sorted(found, key=lambda pair: _order(pair, baseline)))


def _order(pair: Pair, baseline: str | None) -> tuple[bool, float, float]:
    p = math.inf if pair.p is None else pair.p
    return baseline not in (pair.first, pair.second), p, -abs(pair.difference)


def _judged(pair: Pair, spread: Spread | None, alpha: float, worthwhile: float | None) -> Pair:
    """With what may be said of it: whether a difference is shown, and how it compares with one that matters."""
    claimable = pair.about == "strategies" and pair.seeds >= FEWEST_SEEDS and pair.withheld is None
    shown = claimable and pair.corrected is not None and pair.corrected <= ALPHA
    size = abs(pair.difference)
    least = size - (size if pair.interval is None else (pair.interval.high - pair.interval.low) / 2)
    if shown and pair.interval is not None and pair.interval.low < 0 < pair.interval.high:
        end = pair.interval
        pair = replace(pair, interval=end._replace(low=0.0) if pair.difference > 0 else end._replace(high=0.0))
    if worthwhile is None or pair.about != "strategies":
        return replace(pair, shown=shown)
    one_sided = math.inf
    if claimable and spread is not None and spread.units:  # seeds that all agree leave a t-test nothing to divide by
        one_sided = spread.reach(2 * alpha)
    answer: Answer = "undecided"
    if size + one_sided < worthwhile:
        answer = "better by less" if shown else "no larger"
    elif shown:
        answer = "better by more" if least > worthwhile else "better"
    return replace(pair, shown=shown, answer=answer)


def sign_flip(differences: np.ndarray) -> float:
    """The two-sided p of the mean of paired differences, each of which could as well have had the other sign.

    Exact up to FLIPPED differences (R. A. Fisher, The Design of Experiments, 1935, section 21); of more, from 2^FLIPPED
    random assignments, the observed one among them.
    """
    count = len(differences)
    if count <= FLIPPED:
        signs = 1 - 2 * ((np.arange(1 << count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(1 << FLIPPED, count))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) * (1 - 1e-12)).mean())


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of rows that only the first, or only the second of two models got right
    (Q. McNemar, Psychometrika 12, 1947; binomial with one half)."""
    from scipy.special import bdtr

    rows = only_first + only_second
    return 1.0 if not rows else min(1.0, 2 * float(bdtr(min(only_first, only_second), rows, 0.5)))


def _tested(a: list[StudyScores], b: list[StudyScores], metric: str) -> Tested:
    about, _ = _about(a, b)
    return _over_seeds(a, b, metric) if about == "strategies" else _of_one_seed(a[0], b[0], metric, about)


def _pair(
    first: str,
    second: str,
    a: list[StudyScores],
    b: list[StudyScores],
    mode: str,
    tested: Tested,
    alpha: float,
    worthwhile: float | None,
) -> Pair:
    """What the scores come to, before anything is claimed of it; `alpha`: the pair's share of the error rate."""
    differences = _differences(a, b)
    difference = float(differences.mean())
    about, units = _about(a, b)
    rows = min(test.rows for test in (*a, *b)) if same_rows((*a, *b)) else 0
    needed = Needed(None, beyond=False, too_few_rows=False)
    if about == "strategies" and tested.spread is not None and worthwhile is not None:
        needed = seeds_needed(worthwhile, tested.spread, len(a), alpha)
    return Pair(
        first=first,
        second=second,
        means=(float(np.mean([test.score for test in a])), float(np.mean([test.score for test in b]))),
        difference=difference,
        better=_chance(a, b, mode),
        interval=_interval(difference, tested.spread, rows, len(a), units, alpha),
        test=tested.words,
        about=about,
        p=tested.p,
        corrected=None,
        permutation=sign_flip(differences) if about == "strategies" else None,
        seeds=len(a),
        rows=rows,
        shown=False,
        withheld=None,
        detectable=None if tested.spread is None else detectable(tested.spread, len(a), alpha),
        seeds_needed=needed.seeds,
        beyond=needed.beyond,
        too_few_rows=needed.too_few_rows,
        answer=None,
    )


def _about(
    a: Sequence[StudyScores], b: Sequence[StudyScores]
) -> tuple[Literal["strategies", "configurations", "models"], Covers]:
    if len(a) > 1:
        return "strategies", "seeds"
    if len(a[0].scores) > 1 and a[0].trainings == b[0].trainings:
        return "configurations", "trainings"
    return "models", "rows"


def _over_seeds(a: list[StudyScores], b: list[StudyScores], metric: str) -> Tested:
    """The paired t-test over seeds, with the error of the rows where it is known."""
    differences = _differences(a, b)
    units = float(differences.var(ddof=1)) / len(a)
    spread = Spread(0.0 if np.ptp(differences) < SAME else units, len(a) - 1, _rows_error(a, b, metric))
    p = _two_sided(float(differences.mean()), spread)
    if not spread.units:  # nothing to divide by; and rows alone say nothing of seeds
        flipped = sign_flip(differences)
        return Tested("exact sign-flip test over seeds, whose differences are all equal", max(p, flipped), spread)
    told = "paired t-test over seeds and test rows" if spread.rows else "paired t-test over seeds"
    return Tested(told, p, spread)


def _of_one_seed(a: StudyScores, b: StudyScores, metric: str, about: str) -> Tested:
    difference, rows = a.score - b.score, _rows_error([a], [b], metric)
    if about == "configurations":
        differences = np.subtract(a.scores, b.scores)
        spread = Spread(float(differences.var(ddof=1)) / len(differences), len(differences) - 1, rows)
        return Tested("paired t-test over training seeds and test rows", _two_sided(difference, spread), spread)
    spread_of_rows = Spread(0.0, math.inf, rows) if rows else None
    if metric in PROPORTIONS and same_rows([a, b]):
        right, also = (np.equal(t.said[0].labels, t.said[0].predictions) for t in (a, b))
        return Tested(
            "McNemar's exact test", mcnemar(int((right & ~also).sum()), int((also & ~right).sum())), spread_of_rows
        )
    if spread_of_rows is None:
        return Tested("no test: nothing is known of the score's uncertainty", None, None)
    told = "bootstrap over test rows" if same_rows([a, b]) else "unpaired z-test over test rows"
    return Tested(told, _two_sided(difference, spread_of_rows), spread_of_rows)


def _rows_error(a: list[StudyScores], b: list[StudyScores], metric: str) -> float:
    """The squared error that the choice of rows gives the mean difference in all seeds alike: paired where the rows are
    recorded."""
    if same_rows((*a, *b)):
        return common_error(np.array([one.drawn - other.drawn for one, other in zip(a, b, strict=True)]))  # type: ignore[operator]
    return rows_error(a, metric) + rows_error(b, metric)


def _two_sided(difference: float, spread: Spread) -> float:
    return spread.p(difference) if spread.error else float(difference == 0)


def _interval(
    difference: float, spread: Spread | None, rows: int, seeds: int, units: Covers, alpha: float
) -> Interval | None:
    if spread is None or spread.error == 0:
        return None
    half = spread.reach(alpha)
    covers: tuple[Covers, ...] = ("rows",) if units == "rows" else ("rows", units) if spread.rows else (units,)
    return Interval(difference - half, difference + half, rows, seeds, covers)


def _differences(a: Sequence[StudyScores], b: Sequence[StudyScores]) -> np.ndarray:
    return np.array([one.score - other.score for one, other in zip(a, b, strict=True)])


def _chance(a: Sequence[StudyScores], b: Sequence[StudyScores], mode: str) -> float:
    """The share of all combinations of a seed of `a` and one of `b` in which `a` is better; a tie counts half
    (Agarwal et al., 2021, arXiv:2108.13264: the probability of improvement)."""
    ahead = np.subtract.outer([test.score for test in a], [test.score for test in b]) * (1 if mode == "max" else -1)
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def _withheld(
    first: str, second: str, by_seed: Mapping[str, Mapping[int, StudyScores]], lost: Mapping[str, Collection[int]]
) -> str | None:
    """Why the searches that failed forbid a claim: the seeds that are left were chosen by who survived them."""
    for one, other in ((first, second), (second, first)):
        if seeds := sorted(set(lost.get(one, ())) & by_seed[other].keys()):
            told = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            return f"{one} has no test score with {told}, where {other} has one"
    return None


def _without_rows(a: Sequence[StudyScores], b: Sequence[StudyScores], metric: str) -> str | None:
    if rows_known((*a, *b), metric):
        return None
    return f"what other test rows would change in {metric} is not known"
