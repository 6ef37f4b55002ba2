"""Corrects p values for the number of pairs. Pairs with the baseline get most of the error rate.

It is a closed test (Marcus, Peritz and Gabriel, Biometrika 63, 1976): a pair differs significantly if every hypothesis
in which its two strategies are equal is rejected. Such a hypothesis is a partition of the strategies into groups of
equals (Shaffer, JASA 81, 1986), so there are fewer of them than Holm's method counts. Within a hypothesis, 80 % of the
error rate is for pairs with the baseline and the rest for other pairs; if one kind is absent, the other gets all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np

FIRST = 0.8  # share of the error rate for pairs with the baseline, if a hypothesis has both kinds
MAX_STRATEGIES = 8  # whose partitions (4,140) are enumerated; weighted Holm is used for more

StrategyPair = tuple[Hashable, Hashable]


def error_shares(pairs: Sequence[StrategyPair], baseline: Hashable | None) -> list[float]:
    """Returns the share of the error rate of each pair at the first step. Shares add up to 1."""
    first = np.array([[baseline in pair for pair in pairs]])
    return [float(share) for share in _shares(first, np.ones_like(first))[0]]


def correct_p_values(
    pairs: Sequence[StrategyPair], found: Sequence[float | None], baseline: Hashable | None
) -> list[float | None]:
    """Returns the p of each pair, corrected for all pairs. A p of None stays None and does not count.

    Args:
        pairs: of strategies.
        found: uncorrected p, one per pair.
        baseline: one of the strategies; None: all pairs have equal weight.
    """
    tested = [place for place, p in enumerate(found) if p is not None]
    result: list[float | None] = [None] * len(pairs)
    if not tested:
        return result
    names = list(dict.fromkeys(name for place in tested for name in pairs[place]))
    p = np.array([found[place] for place in tested], dtype=float)
    first = np.array([baseline in pairs[place] for place in tested])
    if len(names) > MAX_STRATEGIES:
        adjusted = _weighted_holm(p, np.array(error_shares([pairs[place] for place in tested], baseline)))
    else:
        number = {name: index for index, name in enumerate(names)}
        columns = [_column(len(names), *(number[name] for name in pairs[place])) for place in tested]
        adjusted = _closed(p, _hypotheses(len(names))[:, columns], first)
    for place, value in zip(tested, adjusted, strict=True):
        result[place] = float(value)
    return result


def holm(pairs: Sequence[StrategyPair], found: Sequence[float], baseline: Hashable | None) -> list[float]:
    """Returns the p of each pair, corrected for all pairs by Holm's method.

    It holds for any dependence between the tests. Unlike the closed test it does not infer from A = B and B = C that
    A = C. Pairs with the baseline have most of the error rate (see `error_shares`); None: all pairs have equal weight.
    """
    share = np.array(error_shares(pairs, baseline))
    return [float(value) for value in _weighted_holm(np.array(found, dtype=float), share)]


def _closed(p: np.ndarray, inside: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the largest p of the hypotheses that contain each pair; `inside`: (hypotheses, pairs)."""
    inside = inside[inside.any(axis=1)]
    share = _shares(np.broadcast_to(first, inside.shape), inside)
    each = np.divide(p, share, out=np.full(inside.shape, np.inf), where=share > 0).min(axis=1)
    return np.asarray(np.minimum(1.0, np.where(inside, each[:, None], 0.0).max(axis=0)))


def _shares(first: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Returns the share of each pair within each hypothesis, 0 outside it: (hypotheses, pairs)."""
    contrasts, others = first & inside, ~first & inside
    several = contrasts.any(axis=1, keepdims=True) & others.any(axis=1, keepdims=True)
    of_first, of_others = np.where(several, FIRST, 1.0), np.where(several, 1 - FIRST, 1.0)
    counts = [np.maximum(1, kind.sum(axis=1, keepdims=True)) for kind in (contrasts, others)]
    return np.asarray(contrasts * of_first / counts[0] + others * of_others / counts[1])


def _weighted_holm(p: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Corrects p values by weighted Holm (Scandinavian Journal of Statistics 6, 1979, 65-70, section 4)."""
    order = np.argsort(p / share)
    left = np.cumsum(share[order][::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] / share[order] * left))
    return adjusted


@functools.cache
def _hypotheses(strategies: int) -> np.ndarray:
    """Returns which pairs of strategies are equal in which partition: (partitions, pairs)."""
    pairs = list(combinations(range(strategies), 2))
    return np.array([[groups[a] == groups[b] for a, b in pairs] for groups in _partitions(strategies)], dtype=bool)


def _partitions(count: int) -> Iterator[tuple[int, ...]]:
    """Yields every partition of `count` things, as the group number of each."""
    if count == 0:
        yield ()
        return
    for groups in _partitions(count - 1):
        for group in range(max(groups, default=-1) + 2):
            yield (*groups, group)


@functools.cache
def _column(strategies: int, one: int, other: int) -> int:
    return list(combinations(range(strategies), 2)).index((min(one, other), max(one, other)))
