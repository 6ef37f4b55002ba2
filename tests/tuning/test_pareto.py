"""Ranks of points: checked against what the definitions say, point by point."""

from __future__ import annotations

import itertools
import random

import pytest

from trainables.spec import Constraint, Goal, Objective
from tuning.pareto import LossPoint, better_than, dominates, fronts, hypervolume, non_dominated, spread_order

pytestmark = pytest.mark.unit

GOAL = Goal(
    objectives=(Objective(metric="accuracy", mode="max"), Objective(metric="latency_ms", mode="min")),
    constraints=(Constraint(metric="latency_ms", at_most=20), Constraint(metric="f1", at_least=0.5)),
)


def drawn(count: int, losses: int, seed: int, *, violations: bool = False) -> list[LossPoint]:
    """Points on a coarse grid, so that equal values occur."""
    draw = random.Random(seed)
    return [
        LossPoint(
            tuple(float(draw.randrange(6)) for _ in range(losses)),
            float(draw.choice([0, 0, 0, 1, 2])) if violations else 0.0,
        )
        for _ in range(count)
    ]


def test_a_report_becomes_a_point_of_losses_and_what_it_breaks() -> None:
    kept = LossPoint.of(GOAL, {"accuracy": 0.8, "latency_ms": 10, "f1": 0.5})
    assert kept == LossPoint((-0.8, 10.0), 0.0)
    assert LossPoint.of(GOAL, {"accuracy": 0.9, "latency_ms": 30, "f1": 0.4}).violation == pytest.approx(0.5 + 0.2)


def test_less_broken_constraints_go_before_all_losses() -> None:
    assert dominates(LossPoint((9.0, 9.0)), LossPoint((0.0, 0.0), 0.1))
    assert dominates(LossPoint((9.0, 9.0), 0.1), LossPoint((0.0, 0.0), 0.2))
    assert not dominates(LossPoint((1.0, 1.0)), LossPoint((1.0, 1.0)))
    assert not dominates(LossPoint((1.0, 2.0)), LossPoint((2.0, 1.0)))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("losses", [1, 2, 3])
def test_fronts_peel_off_what_nobody_left_dominates(losses: int, seed: int) -> None:
    points = drawn(30, losses, seed, violations=True)
    left = set(range(len(points)))
    for front in fronts(points):
        assert set(front) == {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        left -= set(front)
    assert not left
    assert list(fronts([])) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("losses", [1, 2, 3])
def test_what_is_not_dominated_keeps_the_constraints_and_names_equal_points_once(losses: int, seed: int) -> None:
    points = drawn(40, losses, seed, violations=True)
    kept = [i for i, point in enumerate(points) if point.violation == 0]
    expected = [
        i for i in kept if not any(dominates(points[j], points[i]) or (j < i and points[j] == points[i]) for j in kept)
    ]
    assert non_dominated(points) == expected


def test_the_order_of_a_front_begins_with_the_best_first_loss_and_is_spread_from_its_start() -> None:
    front = [LossPoint((float(x), float(10 - x))) for x in (5, 1, 0, 10, 9, 4)]
    order = [front[position].losses[0] for position in spread_order(front)]
    assert order[:3] == [0, 10, 5]
    assert sorted(order) == [0, 1, 4, 5, 9, 10]
    assert spread_order([]) == []
    scaled = [LossPoint((point.losses[0] * 1e6, point.losses[1])) for point in front]
    assert spread_order(scaled) == spread_order(front)


def test_equal_points_are_not_before_each_other() -> None:
    points = [LossPoint((1.0, 1.0))] * 5
    assert [better_than(points, position) for position in range(5)] == [0] * 5
    assert better_than([*points, LossPoint((2.0, 2.0))], 5) == 5


def counted(losses: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """The hypervolume of points with whole numbers, by counting unit cubes."""
    cells = itertools.product(*(range(int(end)) for end in reference))
    return float(sum(any(all(a <= c for a, c in zip(one, cell, strict=True)) for one in losses) for cell in cells))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("losses", [1, 2, 3, 4])
def test_the_hypervolume_is_the_number_of_cubes_that_are_dominated(losses: int, seed: int) -> None:
    points = [point.losses for point in drawn(12, losses, seed)]
    reference = (5.0,) * losses
    assert hypervolume(points, reference) == pytest.approx(counted(points, reference))
    assert hypervolume([], reference) == 0.0
    assert hypervolume([reference], reference) == 0.0


@pytest.mark.parametrize("losses", [2, 3, 4])
def test_the_hypervolume_is_that_of_optuna(losses: int) -> None:
    import numpy as np
    from optuna._hypervolume import compute_hypervolume  # private: the peer that it is checked against

    draw = np.random.default_rng(losses)
    for _ in range(10):
        points, reference = draw.random((15, losses)), np.full(losses, 0.9)
        inside = points[(points < reference).all(axis=1)]
        expected = compute_hypervolume(inside, reference)
        assert hypervolume([tuple(one) for one in points.tolist()], tuple(reference.tolist())) == pytest.approx(
            expected
        )
