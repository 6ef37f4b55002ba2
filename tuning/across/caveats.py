"""Collects the caveats of a comparison over several experiments."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.across.tasks import TaskScores
from tuning.across.types import Across
from tuning.comparison.formatting import join_names


def across_caveats(across: Across, tasks: Sequence[TaskScores]) -> tuple[str, ...]:
    """Returns all caveats, a sentence or two each.

    Args:
        across: the comparison.
        tasks: its tasks.
    """
    return (
        *_left_out(across),
        *_baselines(across, tasks),
        *_unfinished(tasks),
        *_imputed(tasks),
        *_seeds(across),
        *_metrics(across),
        *_scales(across),
        "Tests over tasks and the intervals of differences (A-B) are for other tasks like these; all other intervals "
        "are for other seeds of these searches on these tasks. Each experiment has caveats of its own: see `tunefleet "
        "compare NAME`.",
    )


def _left_out(across: Across) -> list[str]:
    if not across.left_out:
        return []
    return [f"Left out, since not all tasks have it: {'; '.join(across.left_out)}."]


def _baselines(across: Across, tasks: Sequence[TaskScores]) -> list[str]:
    declared = {task.experiment: task.baseline for task in tasks}
    if across.baseline is not None or not any(declared.values()):
        return []
    if len(set(declared.values())) == 1:
        return [f"The baseline {tasks[0].baseline} is not among the compared strategies: all pairs have equal weight."]
    listed = ", ".join(f"{name} {baseline or 'none'}" for name, baseline in declared.items())
    return [
        f"The experiments have no baseline in common ({listed}): no gain over one is tested first, and all pairs have "
        "equal weight."
    ]


def _unfinished(tasks: Sequence[TaskScores]) -> list[str]:
    found = [f"{one} of {task.experiment}" for task in tasks for one in task.unfinished]
    return [f"Not finished: {join_names(found)}."] if found else []


def _imputed(tasks: Sequence[TaskScores]) -> list[str]:
    found = [f"{one} of {task.experiment}" for task in tasks for one in task.imputed]
    if not found:
        return []
    return [
        f"Failed searches, counted with the score of the defaults or of the most frequent class: {join_names(found)}."
    ]


def _seeds(across: Across) -> list[str]:
    counts = {task.experiment: len(task.seeds) for task in across.tasks}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        found.append(
            f"One seed only in {join_names(single)}: a task's ranks may be chance, and there are no intervals."
        )
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(
            f"Unequal numbers of seeds ({listed}): every task has equal weight, except in the interquartile mean, "
            "where every search has."
        )
    return found


def _metrics(across: Across) -> list[str]:
    metrics = list(dict.fromkeys(task.metric for task in across.tasks))
    if len(metrics) == 1:
        return []
    return [f"Metrics differ ({', '.join(metrics)}): the signed-rank tests compare normalised scores."]


def _scales(across: Across) -> list[str]:
    found = []
    if equal := [task.experiment for task in across.tasks if task.normalised is None]:
        found.append(f"All strategies have the same mean in {join_names(equal)}: no normalised scores there.")
    if len(across.strategies) == 2:
        found.append("With two strategies, one has 1 and the other 0 in each task, so normalised scores add little.")
    return found
