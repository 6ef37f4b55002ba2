"""Ranks points of several losses: domination, non-dominated sorting, spreading along a front, hypervolume. Pure.

A point is a vector of losses, of which less is better, and how far it breaks its constraints. One that breaks them less
dominates one that breaks them more, whatever their losses (Deb et al., "A fast and elitist multiobjective genetic
algorithm: NSGA-II", IEEE Trans. Evol. Comput. 6, 2002).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.spec import Goal

Losses: TypeAlias = tuple[float, ...]


class LossPoint(NamedTuple):
    """The losses of one report, and how far it breaks the constraints (0: it keeps them)."""

    losses: Losses
    violation: float = 0.0

    @classmethod
    def of(cls, goal: Goal, metrics: Mapping[str, float]) -> LossPoint:
        """The point of a report with these metrics."""
        return cls(goal.losses(metrics), goal.violation(metrics))


def dominates(one: LossPoint, other: LossPoint) -> bool:
    """True if `one` is better than `other` in some loss and worse in none, or breaks its constraints less."""
    if one.violation != other.violation:
        return one.violation < other.violation
    return _no_worse(one.losses, other.losses) and one.losses != other.losses


def fronts(points: Sequence[LossPoint]) -> Iterator[list[int]]:
    """Yields the positions of the points that no other dominates, then those of what is left, and so on."""
    worse = _dominated(points)  # [i, j]: i dominates j
    left = np.arange(len(points))
    while len(left):
        beaten = worse[np.ix_(left, left)].any(axis=0)
        yield [int(position) for position in left[~beaten]]
        left = left[beaten]


def _dominated(points: Sequence[LossPoint]) -> npt.NDArray[np.bool_]:
    """A matrix of (points, points): whether the point of the row dominates that of the column."""
    if not points:
        return np.zeros((0, 0), dtype=bool)
    losses = np.array([point.losses for point in points], dtype=float)
    broken = np.array([point.violation for point in points], dtype=float)
    no_worse, better = np.ones((2, len(points), len(points)), dtype=bool)
    better[:] = False
    for column in losses.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    same = broken[:, None] == broken[None, :]
    found: npt.NDArray[np.bool_] = (broken[:, None] < broken[None, :]) | (same & no_worse & better)
    return found


def spread_order(points: Sequence[LossPoint]) -> list[int]:
    """Orders the points of one front so that each beginning of the order is spread over all of it.

    The first is the best one of the first loss; each next one has the largest distance to all before it, where each
    loss is scaled to the range that it has on this front. Equal points keep their order. This is the epsilon-net of
    Salinas et al., "A multi-objective perspective on jointly tuning hardware and hyperparameters", 2021 (arXiv
    2106.05680), by the greedy traversal of Gonzalez, Theoretical Computer Science 38, 1985.
    """
    if not points:
        return []
    losses = np.array([point.losses for point in points], dtype=float)
    low, high = losses.min(axis=0), losses.max(axis=0)
    scaled = (losses - low) / np.where(high > low, high - low, 1.0)
    order = [int(np.lexsort(losses.T[::-1])[0])]
    nearest = np.linalg.norm(scaled - scaled[order[0]], axis=1)
    nearest[order[0]] = -1.0
    while len(order) < len(points):
        chosen = int(nearest.argmax())
        order.append(chosen)
        nearest = np.minimum(nearest, np.linalg.norm(scaled - scaled[chosen], axis=1))
        nearest[order] = -1.0
    return order


def better_than(points: Sequence[LossPoint], position: int) -> int:
    """The number of `points` that come before the one at `position`.

    Those of a better front do; on its own front those that `spread_order` puts before it, but for equal ones.
    """
    before = 0
    for front in fronts(points):
        if position not in front:
            before += len(front)
            continue
        ranked = [front[place] for place in spread_order([points[one] for one in front])]
        ahead = ranked[: ranked.index(position)]
        return before + sum(points[one] != points[position] for one in ahead)
    raise IndexError(f"{position} is none of {len(points)} points")


def non_dominated(points: Sequence[LossPoint]) -> list[int]:
    """The positions of the points that no other dominates and that keep the constraints; of equal ones the first."""
    kept: list[int] = []
    for position in sorted(range(len(points)), key=lambda one: points[one].losses):  # what dominates comes before
        losses, violation = points[position]
        if violation == 0 and not any(_no_worse(points[one].losses, losses) for one in kept):
            kept.append(position)
    return sorted(kept)


def _no_worse(one: Losses, other: Losses) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def hypervolume(losses: Sequence[Losses], reference: Losses) -> float:
    """The volume that `losses` dominate, up to `reference`, which is worse than what counts in every loss.

    Exact for any number of losses, by exclusive volumes: While, Bradstreet and Barone, "A fast way of calculating exact
    hypervolumes", IEEE Trans. Evol. Comput. 16, 2012. Written here because it is short: Optuna's is private, and pymoo
    and moocore would come along for this alone.
    """
    inside = [one for one in losses if all(a < b for a, b in zip(one, reference, strict=True))]
    front = sorted(inside[position] for position in non_dominated([LossPoint(one) for one in inside]))
    if len(reference) == 2:
        return _area(front, reference)
    volume = 0.0
    for number, one in enumerate(front):
        limited = [tuple(max(a, b) for a, b in zip(one, other, strict=True)) for other in front[number + 1 :]]
        box = float(np.prod([b - a for a, b in zip(one, reference, strict=True)]))
        volume += box - hypervolume(limited, reference)
    return volume


def _area(front: Sequence[Losses], reference: Losses) -> float:
    """The area of a front that is sorted by its first loss."""
    area, height = 0.0, reference[1]
    for first, second in front:
        area += (reference[0] - first) * (height - second)
        height = second
    return area
