"""Builds the comparison over several experiments from their outcomes, with the other modules of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tuning.across.aggregates import (
    bootstrap_seeds,
    interquartile_means,
    normalise,
    percentile_bounds,
    percentile_interval,
    performance_profile,
    profile_thresholds,
)
from tuning.across.caveats import across_caveats
from tuning.across.pairs import across_pairs, tested_score
from tuning.across.significance import friedman, rank_means, smallest_p, tasks_needed
from tuning.across.tasks import TaskScores, TaskSet, collect_tasks, same_data_pairs
from tuning.across.types import Across, AcrossRow, Friedman, TaskRow
from tuning.across.verdict import SCALE, across_verdict
from tuning.comparison.formatting import join_names
from tuning.comparison.multiple_comparisons import error_shares
from tuning.outcome import ExperimentOutcome

DIGITS = 12  # of an aggregate: rounding errors of additions are smaller


def compare_across(outcomes: Sequence[ExperimentOutcome], *, specs: Sequence[Mapping[str, Any] | None] = ()) -> Across:
    """Compares the strategies that all experiments have, each experiment as a task, finished or not.

    Strategies are the same if name and kind are equal. Metrics may differ.

    Args:
        outcomes: of the experiments.
        specs: of the experiments, resolved, as their YAML has it, for their baselines; None: unknown. Without any, or
            where none is named, a strategy of kind `defaults` is the baseline.

    Raises:
        InputError: fewer than two experiments, one given twice, one without a study, fewer than two strategies in
            common, or fewer than two experiments in which all of these have a test score.
    """
    found = collect_tasks(outcomes, specs)
    tasks = tuple(map(_task_row, found.tasks))
    withheld = _withheld(found.tasks)
    pairs = across_pairs(found, tasks, claimable=withheld is None)
    share = max(error_shares([(pair.first, pair.second) for pair in pairs], found.baseline))
    rows = _rows(found, tasks)
    ranks = np.array([task.ranks for task in tasks])
    across = Across(
        tasks=tasks,
        strategies=found.strategies,
        rows=rows,
        baseline=found.baseline,
        pairs=pairs,
        friedman=_friedman(ranks),
        least_p=smallest_p(len(tasks)),
        least_corrected=min(1.0, smallest_p(len(tasks)) / share),
        tasks_needed=tasks_needed(share),
        differences=tested_score(tasks),
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
