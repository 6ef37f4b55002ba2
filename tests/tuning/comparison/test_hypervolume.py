"""Searches of several objectives compared by hypervolume, on outcomes whose volumes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.support.outcomes import study, trial
from trainables.reporting import Report
from trainables.spec import Constraint, Goal, Objective
from tuning.comparison import compare
from tuning.comparison.front import experiment_front
from tuning.comparison.hypervolume import Box, scored_by_volume
from tuning.outcome import ExperimentOutcome, ScoredRows, StudyOutcome, TestScore, TrialOutcome

pytestmark = pytest.mark.unit

GOAL = Goal(objectives=(Objective(metric="accuracy", mode="max"), Objective(metric="latency_ms", mode="min")))
ROWS = 400
DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(2, size=ROWS).astype(float)
HARD = DRAW.random(ROWS)  # a model of accuracy a is wrong on rows harder than a


def report(epoch: float, accuracy: float, latency: float, cost: float = 10.0) -> Report:
    metrics = {"accuracy": accuracy, "latency_ms": latency}
    return Report(epoch, metrics, {"learning_rate": 0.1 * epoch}, cost, 100.0 * epoch)


def on_test(one: TrialOutcome, epoch: float, accuracy: float, latency: float) -> TestScore:
    """A model whose recorded accuracy is that of its rows."""
    predicted = np.where(accuracy >= HARD, LABELS, 1 - LABELS)
    metrics = {"accuracy": float((predicted == LABELS).mean()), "latency_ms": latency}
    scored = ScoredRows(tuple(LABELS.tolist()), tuple(predicted.tolist()))
    return TestScore(one.id, epoch, {}, metrics, ROWS, "/checkpoint", 0.0, scored)


def searched(
    strategy: str, fronts: Sequence[tuple[float, float]], *, seed: int = 0, shift: float = 0.0, goal: Goal = GOAL
) -> StudyOutcome:
    """A study with one trial per point, whose accuracy on test is `shift` higher."""
    trials = [
        replace(trial(number, [report(1, *point)]), id=f"{strategy}{seed}{number}", costs=(10.0 * (number + 1),))
        for number, point in enumerate(fronts)
    ]
    found = replace(study(strategy, trials, seed=seed), goal=goal)
    on_front = {(one.id, r.epoch): r.metrics for one, r in found.front()}
    tests = [
        on_test(one, 1, on_front[one.id, 1]["accuracy"] + shift, on_front[one.id, 1]["latency_ms"])
        for one in trials
        if (one.id, 1) in on_front
    ]
    return replace(found, front_tests=tuple(tests))


def outcome(*studies: StudyOutcome) -> ExperimentOutcome:
    return ExperimentOutcome("e", "d", studies)


def volumes(comparison_of: ExperimentOutcome) -> Mapping[str, float]:
    found = {}
    for row in compare(comparison_of).rows:
        (one,) = row.studies
        assert one.chosen is not None
        found[row.strategy] = one.chosen.validation
    return found


def test_the_box_reaches_from_the_best_to_a_tenth_beyond_the_worst_of_all_fronts() -> None:
    box = Box.around([(-0.9, 20.0), (-0.5, 10.0)])
    assert box.ideal == (-0.9, 10.0)
    assert box.reference == pytest.approx((-0.46, 21.0))
    assert box.share([(-0.9, 10.0)]) == pytest.approx(1.0)
    assert box.share([(-2.0, 0.0)]) == pytest.approx(1.0)  # beyond the ideal counts as there
    assert box.share([(-0.68, 15.5)]) == pytest.approx(0.25)
    assert box.share([(-0.4, 10.0)]) == box.share([]) == 0.0
    alone = Box.around([(-0.9, 20.0)])
    assert all(low < high for low, high in zip(alone.ideal, alone.reference, strict=True))


def test_a_volume_is_that_of_the_front_and_grows_with_each_point_of_it() -> None:
    wide = searched("wide", [(0.9, 20.0), (0.7, 15.0), (0.5, 10.0), (0.4, 30.0)])
    narrow = searched("narrow", [(0.5, 20.0), (0.5, 10.0)])
    found = volumes(outcome(wide, narrow))
    box = Box.around([(-0.9, 20.0), (-0.7, 15.0), (-0.5, 10.0)])
    assert found["wide"] == pytest.approx(box.share([(-0.9, 20.0), (-0.7, 15.0), (-0.5, 10.0)]))
    assert found["narrow"] == pytest.approx(box.share([(-0.5, 10.0)]))
    (curve,) = compare(outcome(wide, narrow)).rows[0].anytime.curves
    assert [step.cost for step in curve.steps] == [10.0, 20.0, 30.0]  # the last point adds nothing


def test_points_that_break_a_constraint_count_nowhere() -> None:
    bounded = Goal(objectives=GOAL.objectives, constraints=(Constraint(metric="latency_ms", at_most=15),))
    kept = searched("kept", [(0.9, 20.0), (0.7, 15.0), (0.5, 10.0)], goal=bounded)
    assert [point.validation["latency_ms"] for point in experiment_front(outcome(kept))] == [15.0, 10.0]
    assert len(kept.front_tests) == 2
    broken = searched("kept", [(0.9, 20.0)], goal=bounded)
    assert scored_by_volume(outcome(broken)) is None
    assert compare(outcome(broken)).advice.startswith("No configuration to use yet")


def seeds_of(strategy: str, gain: float) -> list[StudyOutcome]:
    """Five searches; their luck is that of the seed, whatever the strategy."""
    luck = [0.0, 0.02, -0.02, 0.01, -0.01]
    return [
        searched(strategy, [(0.6 + gain + own, 20.0), (0.5 + gain + own, 15.0), (0.4 + gain + own, 10.0)], seed=seed)
        for seed, own in enumerate(luck)
    ]


def test_a_larger_volume_on_test_is_shown_over_seeds_with_the_error_of_the_rows() -> None:
    comparison = compare(outcome(*seeds_of("better", 0.2), *seeds_of("worse", 0.0)))
    (pair,) = comparison.pairs
    assert (pair.first, pair.seeds, pair.rows, pair.shown) == ("better", 5, ROWS, True)
    assert pair.test == "paired t-test over seeds and test rows"
    assert "better did better than worse: test hypervolume" in comparison.verdict
    assert comparison.goal == "accuracy max, latency_ms min"


def test_equal_searches_show_no_difference() -> None:
    comparison = compare(outcome(*seeds_of("one", 0.0), *seeds_of("other", 0.0)))
    (pair,) = comparison.pairs
    assert not pair.shown
    assert pair.difference == 0


def test_the_draws_of_rows_are_those_of_the_metrics_they_are_made_of() -> None:
    """The volume of one model with a constant latency is linear in its accuracy."""
    one = searched("one", [(0.7, 20.0)])
    found = scored_by_volume(outcome(one, searched("other", [(0.9, 20.0), (0.5, 10.0)])))
    assert found is not None
    test = found.tests["one", 0]
    assert test.bootstrap is not None
    box = found.box
    height = (box.reference[1] - 20.0) / (box.reference[1] - box.ideal[1])
    accuracy = one.front_tests[0].metrics["accuracy"]
    error = (accuracy * (1 - accuracy) / ROWS) ** 0.5 * height / (box.reference[0] - box.ideal[0])
    assert float(test.bootstrap.std()) == pytest.approx(error, rel=0.1)
    assert float(test.bootstrap.mean()) == pytest.approx(test.score, abs=error / 10)


def test_without_recorded_rows_nothing_is_claimed() -> None:
    studies = []
    for found in (*seeds_of("better", 0.2), *seeds_of("worse", 0.0)):
        studies.append(replace(found, front_tests=tuple(replace(test, scored=None) for test in found.front_tests)))
    (pair,) = compare(outcome(*studies)).pairs
    assert not pair.shown
    assert pair.withheld == "how much hypervolume depends on the choice of test rows is not known"


def test_the_test_score_is_said_to_be_of_the_whole_front() -> None:
    caveats = compare(outcome(*seeds_of("better", 0.2), *seeds_of("worse", 0.0))).caveats
    assert not any("not of the best validation score" in caveat for caveat in caveats)
