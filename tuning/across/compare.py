"""Builds the comparison over several experiments from their outcomes, with the other modules of this package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from tuning.across.aggregates import (
    bootstrap_seeds,
    interquartile_means,
    normalise,
    percentile_bounds,
    percentile_interval,
    performance_profile,
    probability_of_improvement,
    profile_thresholds,
)
from tuning.across.caveats import across_caveats
from tuning.across.significance import friedman, rank_means, signed_ranks, smallest_p, tasks_needed, wilcoxon_p
from tuning.across.tasks import TaskScores, TaskSet, collect_tasks, same_data_pairs
from tuning.across.types import Across, AcrossPair, AcrossRow, Friedman, TaskRow
from tuning.across.verdict import SCALE, across_verdict
from tuning.comparison.formatting import join_names
from tuning.comparison.multiple_comparisons import holm
from tuning.comparison.verdict_levels import ALPHA
from tuning.outcome import ExperimentOutcome

NORMALISED = "normalised scores"
DIGITS = 12  # of an aggregate: rounding errors of additions are smaller


def compare_across(outcomes: Sequence[ExperimentOutcome]) -> Across:
    """Compares the strategies that all experiments have, each experiment as a task, finished or not.

    Strategies are the same if name and kind are equal. Metrics may differ.

    Args:
        outcomes: of the experiments.

    Raises:
        InputError: fewer than two experiments, one given twice, one without a study, fewer than two strategies in
            common, or fewer than two experiments in which all of these have a test score.
    """
    found = collect_tasks(outcomes)
    tasks = tuple(map(_task_row, found.tasks))
    pairs, differences = _pairs(found, tasks)
    withheld = _withheld(found.tasks)
    rows = _rows(found, tasks)
    ranks = np.array([task.ranks for task in tasks])
    across = Across(
        tasks=tasks,
        strategies=found.strategies,
        rows=rows,
        pairs=tuple(replace(pair, shown=pair.shown and withheld is None) for pair in pairs),
        friedman=_friedman(ranks),
        least_p=smallest_p(len(tasks)),
        tasks_needed=tasks_needed(len(pairs)),
        differences=differences,
        thresholds=_thresholds(found.tasks),
        left_out=found.left_out,
        withheld=withheld,
        scale=SCALE,
        verdict="",
        caveats=(),
    )
    return replace(across, verdict=across_verdict(across), caveats=across_caveats(across, found.tasks))


def _task_row(task: TaskScores) -> TaskRow:
    scaled = normalise(np.array(task.means), task.means, task.mode)
    return TaskRow(
        experiment=task.experiment,
        metric=task.metric,
        mode=task.mode,
        seeds=task.seeds,
        scores=tuple(map(tuple, task.scores.tolist())),
        means=task.means,
        ranks=rank_means(task.means, task.mode),
        normalised=None if scaled is None else tuple(scaled.tolist()),
        device_seconds=task.device_seconds,
    )


def _scaled(tasks: Sequence[TaskScores]) -> list[np.ndarray]:
    """Returns the normalised scores of all searches by task, without tasks in which all strategies are equal."""
    found = (normalise(task.scores, task.means, task.mode) for task in tasks)
    return [scores for scores in found if scores is not None]


def _thresholds(tasks: Sequence[TaskScores]) -> tuple[float, ...]:
    scaled = _scaled(tasks)
    return tuple(profile_thresholds(scaled).tolist()) if scaled else ()


def _rows(found: TaskSet, tasks: Sequence[TaskRow]) -> tuple[AcrossRow, ...]:
    scaled, thresholds = _scaled(found.tasks), np.array(_thresholds(found.tasks))
    drawn = bootstrap_seeds(scaled)
    seeds = sum(scores.shape[-1] for scores in scaled)
    middles = interquartile_means(scaled) if scaled else None
    drawn_middles = None if drawn is None else interquartile_means(drawn)
    rows = []
    for place, name in enumerate(found.strategies):
        low, high = (np.array([]), np.array([]))
        if drawn is not None:
            low, high = percentile_bounds(performance_profile(drawn, place, thresholds))
        row = AcrossRow(
            strategy=name,
            rank=float(np.mean([task.ranks[place] for task in tasks])),
            best_in=sum(task.ranks[place] == min(task.ranks) for task in tasks),
            middle=None if middles is None else round(float(middles[place]), DIGITS) + 0.0,  # + 0.0 turns -0 into 0
            interval=None if drawn_middles is None else percentile_interval(drawn_middles[place], seeds),
            profile=tuple(performance_profile(scaled, place, thresholds).tolist()) if scaled else (),
            profile_low=tuple(low.tolist()),
            profile_high=tuple(high.tolist()),
            device_seconds=sum(task.device_seconds[place] for task in tasks),
        )
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: row.rank))


def _pairs(found: TaskSet, tasks: Sequence[TaskRow]) -> tuple[tuple[AcrossPair, ...], str]:
    """Returns all pairs of strategies, and the score whose differences are tested."""
    metrics = {(task.metric, task.mode) for task in tasks}
    of = tasks[0].metric if len(metrics) == 1 else NORMALISED
    levels = np.array([_levels(task, of) for task in tasks])  # (tasks, strategies), more is better
    ahead = [task.ahead for task in found.tasks]
    drawn, seeds = bootstrap_seeds(ahead), sum(len(task.seeds) for task in tasks)
    pairs = []
    for pair in combinations(range(len(found.strategies)), 2):
        one, other = pair if signed_ranks(_differences(levels, *pair)) >= 0 else pair[::-1]
        differences = _differences(levels, one, other)
        pairs.append(
            AcrossPair(
                first=found.strategies[one],
                second=found.strategies[other],
                wins=int((differences > 0).sum()),
                losses=int((differences < 0).sum()),
                better=float(probability_of_improvement(ahead, one, other)),
                interval=None
                if drawn is None
                else percentile_interval(probability_of_improvement(drawn, one, other), seeds),
                p=wilcoxon_p(differences),
                corrected=1.0,
                shown=False,
            )
        )
    corrected = holm([pair.p for pair in pairs])
    judged = (replace(pair, corrected=p, shown=p <= ALPHA) for pair, p in zip(pairs, corrected, strict=True))
    return tuple(sorted(judged, key=lambda pair: (pair.p, -pair.better))), of


def _differences(levels: np.ndarray, one: int, other: int) -> np.ndarray:
    """Returns differences per task, rounded to 9 digits so that equal ones are ties."""
    return np.array([float(f"{difference:.9g}") for difference in levels[:, one] - levels[:, other]])


def _levels(task: TaskRow, of: str) -> list[float]:
    """Returns the means that the signed-rank tests use; more is better."""
    if of == NORMALISED:
        return list(task.normalised or [0.0] * len(task.means))
    return [mean if task.mode == "max" else -mean for mean in task.means]


def _friedman(ranks: np.ndarray) -> Friedman | None:
    return friedman(ranks) if ranks.shape[1] > 2 else None


def _withheld(tasks: Sequence[TaskScores]) -> str | None:
    if same := same_data_pairs(tasks):
        pairs = join_names([f"{one} and {other}" for one, other in same])
        return f"{pairs} have the same data or scores, so they are the same task"
    if lost := [f"{one} of {task.experiment}" for task in tasks for one in task.lost]:
        return (
            f"there is no test score of {join_names(lost)}, nor one to count in its place, so the seeds that are left "
            "were selected by success"
        )
    return None
