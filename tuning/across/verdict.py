"""A comparison over several experiments in words: the verdict, and what it cannot carry."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.wording import counted
from tuning.across.tasks import TaskScores
from tuning.across.types import Across, AcrossPair, AcrossRow
from tuning.comparison.formatting import join_names
from tuning.comparison.verdict_levels import ALPHA

SCALE = (
    "Normalised scores: in each task 0 is the worst mean of the strategies compared here and 1 the best; single "
    "searches may lie beyond. Other strategies would give another scale."
)
SCOPE = "That is about tasks like these, with their models, spaces and budgets."


def across_verdict(across: Across) -> str:
    """A few sentences. A difference is claimed over tasks alone, where the corrected p is at most 5 %."""
    first = [_best_ranks(across)]
    if across.withheld is not None:
        return f"{first[0]} Nothing is claimed over tasks: {across.withheld}."
    shown = [pair for pair in across.pairs if pair.shown]
    told = [*first, *_friedmans(across), *(_better(pair, across) for pair in shown)]
    if not shown:
        told.append(_none_shown(across))
    elif len(shown) < len(across.pairs):
        told.append("No other pair is shown to differ.")
    return " ".join([*told, SCOPE] if shown else told)


def _best_ranks(across: Across) -> str:
    best = across.rows[0].rank
    leaders = [row.strategy for row in across.rows if row.rank == best]
    over = f"Over {counted(len(across.tasks), 'task')}"
    if len(leaders) > 1:
        return f"{over} {join_names(leaders)} share the best mean rank, {best:.2f} of {len(across.rows)}."
    return f"{over} {leaders[0]} has the best mean rank, {best:.2f} of {len(across.rows)}."


def _friedmans(across: Across) -> list[str]:
    found = across.friedman
    if found is None:
        return []
    how = "exact" if found.exact else "by permutation"
    if found.p <= ALPHA:
        return [f"The strategies are not all alike over tasks (Friedman's test, {how} {p_in_words(found.p)})."]
    return [f"That they are not all alike is not shown (Friedman's test over tasks, {how} {p_in_words(found.p)})."]


def _better(pair: AcrossPair, across: Across) -> str:
    corrected = f", corrected for {len(across.pairs)} pairs" if len(across.pairs) > 1 else ""
    return (
        f"{pair.first} did better than {pair.second} over tasks: ahead in {pair.wins} of {len(across.tasks)}; a search "
        f"of it beats one of the other with a chance of {chance_in_words(pair)} (Wilcoxon's signed-rank test, "
        f"{p_in_words(pair.corrected)}{corrected})."
    )


def _none_shown(across: Across) -> str:
    """What was found, or that nothing could have been."""
    tasks, pairs = len(across.tasks), len(across.pairs)
    least = min(1.0, pairs * across.least_p)
    if least > ALPHA:
        corrected = f", {least:.2g} corrected for {pairs} pairs" if pairs > 1 else ""
        return (
            f"{counted(tasks, 'task')}: no test of two strategies over tasks can show a difference at 5 %. Its p is "
            f"{across.least_p:.2g} at least{corrected}; from {across.tasks_needed} tasks on it can."
        )
    pair = across.pairs[0]
    return (
        f"No difference shown between any two over tasks: nearest to one come {pair.first} and {pair.second}, the "
        f"first ahead in {pair.wins} of {tasks} (Wilcoxon's signed-rank test, corrected {p_in_words(pair.corrected)})."
    )


def across_caveats(across: Across, tasks: Sequence[TaskScores]) -> tuple[str, ...]:
    """Everything that a reader has to know to not be misled by it."""
    return (
        *_left_out(across),
        *_unfinished(tasks),
        *_stand_ins(tasks),
        *_seeds(across),
        *_metrics(across),
        *_scales(across),
        "Intervals are for other seeds of these searches on these tasks; what other tasks would say is in the tests "
        "over tasks alone. Each experiment has caveats of its own: see `tunefleet compare NAME`.",
    )


def _left_out(across: Across) -> list[str]:
    if not across.left_out:
        return []
    return [f"Left out, as it cannot be compared over all: {'; '.join(across.left_out)}."]


def _unfinished(tasks: Sequence[TaskScores]) -> list[str]:
    found = [f"{one} of {task.experiment}" for task in tasks for one in task.unfinished]
    return [f"Not finished: {join_names(found)}."] if found else []


def _stand_ins(tasks: Sequence[TaskScores]) -> list[str]:
    found = [f"{one} of {task.experiment}" for task in tasks for one in task.stand_ins]
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
        found.append(f"One seed only in {join_names(single)}: a task's ranks may be luck, and no interval can be told.")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(
            f"Unequal numbers of seeds ({told}): every task counts alike but in the interquartile mean, where every "
            "search does."
        )
    return found


def _metrics(across: Across) -> list[str]:
    metrics = list(dict.fromkeys(task.metric for task in across.tasks))
    if len(metrics) == 1:
        return []
    return [f"Metrics differ ({', '.join(metrics)}): the signed-rank tests are about differences of normalised scores."]


def _scales(across: Across) -> list[str]:
    found = []
    if alike := [task.experiment for task in across.tasks if task.normalised is None]:
        found.append(f"All strategies have the same mean in {join_names(alike)}: no normalised scores there.")
    if len(across.strategies) == 2:
        found.append("Of two strategies one has 1 and the other 0 in each task: normalised scores say little more.")
    return found


def chance_in_words(pair: AcrossPair) -> str:
    """In percent, with its interval where there is one."""
    interval = pair.interval
    bracketed = "" if interval is None else f" [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return f"{100 * pair.better:.0f} %{bracketed}"


def middle_in_words(row: AcrossRow) -> str:
    """An interquartile mean, with its interval where there is one."""
    bracketed = "" if row.interval is None else f" [{row.interval.low:.2f}, {row.interval.high:.2f}]"
    return "-" if row.middle is None else f"{row.middle:.2f}{bracketed}"


def p_in_words(p: float) -> str:
    """'p = 0.031', 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
