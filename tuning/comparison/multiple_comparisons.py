"""Correction for the number of pairs: the contrasts against the baseline first, all other pairs after.

A closed test (Marcus, Peritz and Gabriel, Biometrika 63, 1976): a pair is shown to differ where every hypothesis that
has its two strategies equal is refused. Such a hypothesis is a partition of the strategies into groups of equals
(Shaffer, JASA 81, 1986), so after one refusal fewer are left than Holm's count has. Within a hypothesis most of the 5 %
is for the pairs with the baseline and the rest for the others; each has all of it once the others are settled.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np

FIRST = 0.8  # of the error rate: for the contrasts against the baseline, while both kinds of pairs are open
MOST = 8  # strategies whose partitions are gone through (4,140); of more, weighted Holm takes its place

StrategyPair = tuple[Hashable, Hashable]


def error_shares(pairs: Sequence[StrategyPair], baseline: Hashable | None) -> list[float]:
    """What each of `pairs` has of the error rate at the first step; they add up to 1."""
    first = np.array([[baseline in pair for pair in pairs]])
    return [float(share) for share in _shares(first, np.ones_like(first))[0]]


def correct_p_values(
    pairs: Sequence[StrategyPair], found: Sequence[float | None], baseline: Hashable | None
) -> list[float | None]:
    """The p of each pair, corrected for all; None stays None and does not count.

    Args:
        baseline: one of the strategies; None: all pairs count alike.
    """
    tested = [place for place, p in enumerate(found) if p is not None]
    told: list[float | None] = [None] * len(pairs)
    if not tested:
        return told
    names = list(dict.fromkeys(name for place in tested for name in pairs[place]))
    p = np.array([found[place] for place in tested], dtype=float)
    first = np.array([baseline in pairs[place] for place in tested])
    if len(names) > MOST:
        adjusted = _weighted_holm(p, np.array(error_shares([pairs[place] for place in tested], baseline)))
    else:
        number = {name: index for index, name in enumerate(names)}
        columns = [_column(len(names), *(number[name] for name in pairs[place])) for place in tested]
        adjusted = _closed(p, _hypotheses(len(names))[:, columns], first)
    for place, value in zip(tested, adjusted, strict=True):
        told[place] = float(value)
    return told


def holm(found: Sequence[float]) -> list[float]:
    """Each p, corrected for their number with nothing known of what they have to do with each other."""
    p = np.array(found, dtype=float)
    return [float(value) for value in _weighted_holm(p, np.full(len(p), 1 / max(1, len(p))))]


def _closed(p: np.ndarray, inside: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The largest p of the hypotheses that a pair is part of; `inside`: (hypotheses, pairs)."""
    inside = inside[inside.any(axis=1)]
    share = _shares(np.broadcast_to(first, inside.shape), inside)
    each = np.divide(p, share, out=np.full(inside.shape, np.inf), where=share > 0).min(axis=1)
    return np.asarray(np.minimum(1.0, np.where(inside, each[:, None], 0.0).max(axis=0)))


def _shares(first: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(hypotheses, pairs): what each pair has within each hypothesis; 0 outside it."""
    contrasts, others = first & inside, ~first & inside
    several = contrasts.any(axis=1, keepdims=True) & others.any(axis=1, keepdims=True)
    of_first, of_others = np.where(several, FIRST, 1.0), np.where(several, 1 - FIRST, 1.0)
    counts = [np.maximum(1, kind.sum(axis=1, keepdims=True)) for kind in (contrasts, others)]
    return np.asarray(contrasts * of_first / counts[0] + others * of_others / counts[1])


def _weighted_holm(p: np.ndarray, share: np.ndarray) -> np.ndarray:
    """S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70, section 4."""
    order = np.argsort(p / share)
    left = np.cumsum(share[order][::-1])[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] / share[order] * left))
    return adjusted


@functools.cache
def _hypotheses(strategies: int) -> np.ndarray:
    """(partitions, pairs): which two of that many strategies are equal by which partition."""
    pairs = list(combinations(range(strategies), 2))
    return np.array([[groups[a] == groups[b] for a, b in pairs] for groups in _partitions(strategies)], dtype=bool)


def _partitions(count: int) -> Iterator[tuple[int, ...]]:
    """The number of the group of each, in every way to group `count` things."""
    if count == 0:
        yield ()
        return
    for groups in _partitions(count - 1):
        for group in range(max(groups, default=-1) + 2):
            yield (*groups, group)


@functools.cache
def _column(strategies: int, one: int, other: int) -> int:
    return list(combinations(range(strategies), 2)).index((min(one, other), max(one, other)))
