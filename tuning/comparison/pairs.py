"""Paired tests between strategies on the test split, and what more seeds would show.

Over seeds: the paired t-test on the differences of one seed each, with the error of the test rows added (see `scores`).
Colas, Sigaud and Oudeyer (2018, arXiv:1806.08295) find t-tests to keep their promise at few seeds where bootstrap tests
do not. The exact sign-flip test stands beside it as a check; below six seeds it cannot reach 5 % whatever the data:
it decides only where all differences are equal and a t-test has nothing to divide by.

One seed each tells nothing about strategies: McNemar's test on its rows is about two models, the t-test over training
seeds about two configurations, and neither ever makes `shown` true.

Correction: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from tuning.comparison.power import Needed, seeds_needed
from tuning.comparison.repeats import distinct
from tuning.comparison.scores import PROPORTIONS, Scored, Spread, common_error, rows_error, rows_known, same_rows
from tuning.comparison.shapes import Covers, Interval, Pair

ALPHA = 0.05  # familywise
FEWEST_SEEDS = 3  # that a statement about strategies may rest on
SAME = 1e-12  # differences that are no further apart are equal
FLIPPED = 16  # seeds up to which every assignment of signs is gone through; beyond, so many are drawn


class Tested(NamedTuple):
    """A test of one difference."""

    words: str
    p: float | None
    spread: Spread | None  # None: the test rests on counts, or on nothing


def pairs_of(
    tests: Mapping[str, Sequence[Scored | None]],
    metric: str,
    mode: str,
    *,
    lost: Mapping[str, Collection[int]] | None = None,
    rowless: bool = False,
) -> tuple[Pair, ...]:
    """Every two strategies that have a seed with a test score in common, the smallest p first.

    A seed whose model another seed has come to, too, is no observation of its own and counts for nothing.

    Args:
        lost: by strategy, seeds whose search has no test score and nothing that stands for it.
        rowless: scores are exact: they rest on no rows that could have been others.
    """
    sign = 1 if mode == "max" else -1
    by_seed = {name: {test.seed: test for test in found if test is not None} for name, found in tests.items()}
    matched = []
    for one, other in combinations(by_seed, 2):
        seeds = distinct(by_seed[one], by_seed[other])
        if not seeds:
            continue
        a, b = ([by_seed[name][seed] for seed in seeds] for name in (one, other))
        behind = sign * float(_differences(a, b).mean()) < 0
        matched.append((other, one, b, a) if behind else (one, other, a, b))
    found = [
        replace(
            _pair(first, second, a, b, metric, mode, len(matched)),
            withheld=_withheld(first, second, by_seed, lost or {})
            or (None if rowless else _without_rows(a, b, metric)),
        )
        for first, second, a, b in matched
    ]
    corrected = holm([pair.p for pair in found])
    shown = [replace(pair, corrected=p, shown=_shown(pair, p)) for pair, p in zip(found, corrected, strict=True)]
    return tuple(sorted(shown, key=lambda pair: (math.inf if pair.p is None else pair.p, -abs(pair.difference))))


def holm(found: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number; None stays None and does not count."""
    order = sorted((p, place) for place, p in enumerate(found) if p is not None)
    corrected: list[float | None] = [None] * len(found)
    least = 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[place] = least
    return corrected


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


def _pair(first: str, second: str, a: list[Scored], b: list[Scored], metric: str, mode: str, pairs: int) -> Pair:
    differences = _differences(a, b)
    difference = float(differences.mean())
    about, units = _about(a, b)
    tested = _over_seeds(a, b, metric) if about == "strategies" else _of_one_seed(a[0], b[0], metric, about)
    rows = min(test.rows for test in (*a, *b)) if same_rows((*a, *b)) else 0
    needed = Needed(None, beyond=False, too_few_rows=False)
    if about == "strategies" and tested.spread is not None:
        needed = seeds_needed(difference, tested.spread, len(a), ALPHA / pairs)
    return Pair(
        first=first,
        second=second,
        means=(float(np.mean([test.score for test in a])), float(np.mean([test.score for test in b]))),
        difference=difference,
        better=_chance(a, b, mode),
        interval=_interval(difference, tested.spread, rows, len(a), units),
        test=tested.words,
        about=about,
        p=tested.p,
        corrected=None,
        permutation=sign_flip(differences) if about == "strategies" else None,
        seeds=len(a),
        rows=rows,
        shown=False,
        withheld=None,
        seeds_needed=needed.seeds,
        beyond=needed.beyond,
        too_few_rows=needed.too_few_rows,
    )


def _about(
    a: Sequence[Scored], b: Sequence[Scored]
) -> tuple[Literal["strategies", "configurations", "models"], Covers]:
    if len(a) > 1:
        return "strategies", "seeds"
    if len(a[0].scores) > 1 and a[0].trainings == b[0].trainings:
        return "configurations", "trainings"
    return "models", "rows"


def _over_seeds(a: list[Scored], b: list[Scored], metric: str) -> Tested:
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


def _of_one_seed(a: Scored, b: Scored, metric: str, about: str) -> Tested:
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


def _rows_error(a: list[Scored], b: list[Scored], metric: str) -> float:
    """The squared error that the choice of rows gives the mean difference in all seeds alike: paired where the rows are
    recorded."""
    if same_rows((*a, *b)):
        return common_error(np.array([one.drawn - other.drawn for one, other in zip(a, b, strict=True)]))  # type: ignore[operator]
    return rows_error(a, metric) + rows_error(b, metric)


def _two_sided(difference: float, spread: Spread) -> float:
    return spread.p(difference) if spread.error else float(difference == 0)


def _interval(difference: float, spread: Spread | None, rows: int, seeds: int, units: Covers) -> Interval | None:
    if spread is None or spread.error == 0:
        return None
    half = spread.reach(0.05)
    covers: tuple[Covers, ...] = ("rows",) if units == "rows" else ("rows", units) if spread.rows else (units,)
    return Interval(difference - half, difference + half, rows, seeds, covers)


def _differences(a: Sequence[Scored], b: Sequence[Scored]) -> np.ndarray:
    return np.array([one.score - other.score for one, other in zip(a, b, strict=True)])


def _chance(a: Sequence[Scored], b: Sequence[Scored], mode: str) -> float:
    """The share of all combinations of a seed of `a` and one of `b` in which `a` is better; a tie counts half
    (Agarwal et al., 2021, arXiv:2108.13264: the probability of improvement)."""
    ahead = np.subtract.outer([test.score for test in a], [test.score for test in b]) * (1 if mode == "max" else -1)
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def _withheld(
    first: str, second: str, by_seed: Mapping[str, Mapping[int, Scored]], lost: Mapping[str, Collection[int]]
) -> str | None:
    """Why the searches that failed forbid a claim: the seeds that are left were chosen by who survived them."""
    for one, other in ((first, second), (second, first)):
        if seeds := sorted(set(lost.get(one, ())) & by_seed[other].keys()):
            told = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            return f"{one} has no test score with {told}, where {other} has one"
    return None


def _without_rows(a: Sequence[Scored], b: Sequence[Scored], metric: str) -> str | None:
    if rows_known((*a, *b), metric):
        return None
    return f"what other test rows would change in {metric} is not known"


def _shown(pair: Pair, p: float | None) -> bool:
    enough = pair.about == "strategies" and pair.seeds >= FEWEST_SEEDS
    return enough and pair.withheld is None and p is not None and p <= ALPHA
