"""Compares all pairs of strategies on the test split: differences, corrected p, intervals, power.

`paired_tests` has the tests. Only a test over seeds can make `Pair.shown` true. Intervals are simultaneous: each has
the level that its pair has at the first step of the correction (see `multiple_comparisons`). If a later step shows a
difference, the interval ends at 0 (Strassburger and Bretz, Statistics in Medicine 27, 2008). "No larger than what
matters" needs two one-sided tests (Schuirmann, 1987), at the same level.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from tuning.comparison.multiple_comparisons import correct_p_values, error_shares
from tuning.comparison.paired_tests import Tested, compared_units, differences_of, sign_flip, tested_difference
from tuning.comparison.power import Needed, detectable, seeds_needed
from tuning.comparison.repeats import distinct_seeds
from tuning.comparison.scores import Spread, StudyScores, rows_known, same_rows
from tuning.comparison.types import Answer, Covers, Interval, Pair
from tuning.comparison.verdict_levels import ALPHA

FEWEST_SEEDS = 3  # that a statement about strategies needs


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
    """Compares all pairs of strategies that have a seed with a test score in common.

    A seed that led to the same model as another seed is no independent observation and is left out.

    Args:
        tests: by strategy, one test score per study.
        metric: of the objective.
        mode: its direction.
        baseline: the strategy that all others are compared with first; None: all pairs have equal weight.
        worthwhile: the smallest difference that matters; None: not set.
        lost: by strategy, seeds without a test score, not even an imputed one.
        rowless: True if scores are exact and do not depend on test rows.
        share: of the error rate for this verdict (see `verdict_levels`); p and intervals are corrected for it.
        unfinished: why nothing may be claimed yet; None: no such reason.

    Returns:
        Pairs with the baseline first, then by p.
    """
    sign = 1 if mode == "max" else -1
    by_seed = {name: {test.seed: test for test in found if test is not None} for name, found in tests.items()}
    matched = []
    for one, other in combinations(by_seed, 2):
        seeds = distinct_seeds(by_seed[one], by_seed[other])
        if not seeds:
            continue
        a, b = ([by_seed[name][seed] for seed in seeds] for name in (one, other))
        behind = sign * float(differences_of(a, b).mean()) < 0
        matched.append((other, one, b, a) if behind else (one, other, a, b))
    names = [(first, second) for first, second, _, _ in matched]
    tested = [tested_difference(a, b, metric) for _, _, a, b in matched]
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
    """Fills in whether a difference is shown, and how it compares with one that matters."""
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
    if claimable and spread is not None and spread.units:  # if all seeds agree, the t-test has no variance to divide by
        one_sided = spread.half_width(2 * alpha)
    answer: Answer = "undecided"
    if size + one_sided < worthwhile:
        answer = "better by less" if shown else "no larger"
    elif shown:
        answer = "better by more" if least > worthwhile else "better"
    return replace(pair, shown=shown, answer=answer)


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
    """Computes a pair without the fields that `_judged` fills in; `alpha` is the pair's share of the error rate."""
    differences = differences_of(a, b)
    difference = float(differences.mean())
    about, units = compared_units(a, b)
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
        test=tested.test,
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


def _interval(
    difference: float, spread: Spread | None, rows: int, seeds: int, units: Covers, alpha: float
) -> Interval | None:
    if spread is None or spread.error == 0:
        return None
    half = spread.half_width(alpha)
    covers: tuple[Covers, ...] = ("rows",) if units == "rows" else ("rows", units) if spread.rows else (units,)
    return Interval(difference - half, difference + half, rows, seeds, covers)


def _chance(a: Sequence[StudyScores], b: Sequence[StudyScores], mode: str) -> float:
    """Returns the probability of improvement (Agarwal et al., 2021, arXiv:2108.13264).

    It is the share of all pairs of a seed of `a` and one of `b` in which `a` is better; a tie counts half.
    """
    ahead = np.subtract.outer([test.score for test in a], [test.score for test in b]) * (1 if mode == "max" else -1)
    return float((ahead > 0).mean() + (ahead == 0).mean() / 2)


def _withheld(
    first: str, second: str, by_seed: Mapping[str, Mapping[int, StudyScores]], lost: Mapping[str, Collection[int]]
) -> str | None:
    """Returns why failed searches forbid a claim: the seeds that are left were selected by success."""
    for one, other in ((first, second), (second, first)):
        if seeds := sorted(set(lost.get(one, ())) & by_seed[other].keys()):
            failed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            return f"{one} has no test score with {failed}, where {other} has one"
    return None


def _without_rows(a: Sequence[StudyScores], b: Sequence[StudyScores], metric: str) -> str | None:
    if rows_known((*a, *b), metric):
        return None
    return f"how much {metric} depends on the choice of test rows is not known"
