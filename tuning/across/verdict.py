"""Writes the verdict of a comparison over several experiments."""

from __future__ import annotations

from trainables.wording import counted
from tuning.across.types import Across, AcrossPair, AcrossRow
from tuning.comparison.formatting import join_names
from tuning.comparison.verdict_levels import ALPHA

SCALE = (
    "Normalised scores: in each task 0 is the worst mean of the compared strategies and 1 the best; single searches "
    "may lie beyond. Other strategies would give another scale."
)
SCOPE = "That holds for tasks like these, with their models, spaces and budgets."


def across_verdict(across: Across) -> str:
    """Returns the verdict in a few sentences. A difference is claimed if its corrected p over tasks is at most 5 %."""
    first = [_best_ranks(across)]
    if across.withheld is not None:
        return f"{first[0]} Nothing is claimed over tasks: {across.withheld}."
    shown = [pair for pair in across.pairs if pair.shown]
    sentences = [*first, *_friedman(across), *(_better(pair, across) for pair in shown)]
    if not shown:
        sentences.append(_none_shown(across))
    elif len(shown) < len(across.pairs):
        sentences.append("No other pair is shown to differ.")
    return " ".join([*sentences, SCOPE] if shown else sentences)


def _best_ranks(across: Across) -> str:
    best = across.rows[0].rank
    leaders = [row.strategy for row in across.rows if row.rank == best]
    over = f"Over {counted(len(across.tasks), 'task')}"
    if len(leaders) > 1:
        return f"{over} {join_names(leaders)} share the best mean rank, {best:.2f} of {len(across.rows)}."
    return f"{over} {leaders[0]} has the best mean rank, {best:.2f} of {len(across.rows)}."


def _friedman(across: Across) -> list[str]:
    found = across.friedman
    if found is None:
        return []
    how = "exact" if found.exact else "by permutation"
    if found.p <= ALPHA:
        return [f"The strategies are not all equal over tasks (Friedman's test, {how} {p_in_words(found.p)})."]
    return [
        f"A difference between the strategies is not shown (Friedman's test over tasks, {how} {p_in_words(found.p)})."
    ]


def _better(pair: AcrossPair, across: Across) -> str:
    corrected = f", corrected for {len(across.pairs)} pairs" if len(across.pairs) > 1 else ""
    return (
        f"{pair.first} did better than {pair.second} over tasks: ahead in {pair.wins} of {len(across.tasks)}; a search "
        f"of it beats one of the other with a chance of {chance_in_words(pair)} (Wilcoxon's signed-rank test, "
        f"{p_in_words(pair.corrected)}{corrected})."
    )


def _none_shown(across: Across) -> str:
    """Reports the pair that is nearest to significance, or that there are too few tasks for any."""
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


def chance_in_words(pair: AcrossPair) -> str:
    """Formats a probability of improvement in percent, with its interval if there is one."""
    interval = pair.interval
    bracketed = "" if interval is None else f" [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
    return f"{100 * pair.better:.0f} %{bracketed}"


def middle_in_words(row: AcrossRow) -> str:
    """Formats an interquartile mean, with its interval if there is one."""
    bracketed = "" if row.interval is None else f" [{row.interval.low:.2f}, {row.interval.high:.2f}]"
    return "-" if row.middle is None else f"{row.middle:.2f}{bracketed}"


def p_in_words(p: float) -> str:
    """Formats a p value as 'p = 0.031' or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
