"""Writes the verdict of a comparison over several experiments."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.wording import counted
from tuning.across.pairs import NORMALISED
from tuning.across.types import Across, AcrossPair, AcrossRow
from tuning.comparison.formatting import decimals_for, join_names
from tuning.comparison.verdict_levels import ALPHA

SCALE = (
    "Normalised scores: in each task 0 is the worst mean of the compared strategies and 1 the best; single searches "
    "may lie beyond. Other strategies would give another scale."
)
SCOPE = "That holds for tasks like these, with their models, spaces and budgets."


def across_verdict(across: Across) -> str:
    """Returns the verdict in a few sentences. A difference is claimed if its corrected p over tasks is at most 5 %.

    With a baseline the first sentence reports what is gained over it.
    """
    best = None if across.baseline is None else _best_contrast(across, across.baseline)
    if across.withheld is not None:
        gain = "" if best is None else f"No gain over the baseline {across.baseline} is shown. "
        return f"{gain}{_best_ranks(across)} Nothing is claimed over tasks: {across.withheld}."
    rest = [pair for pair in across.pairs if pair is not best]
    sentences = [
        *([] if best is None else [_gain(best, across)]),
        _best_ranks(across),
        *_friedman(across),
        *(_better(pair, across) for pair in rest if pair.shown),
    ]
    if not any(pair.shown for pair in across.pairs):
        return " ".join([*sentences, *_none_shown(across, rest)])
    if not all(pair.shown for pair in rest):
        sentences.append("No other pair is shown to differ.")
    return " ".join([*sentences, SCOPE])


def _best_contrast(across: Across, baseline: str) -> AcrossPair:
    """Returns the pair with the largest gain over the baseline, one that is shown if there is any."""
    contrasts = [pair for pair in across.pairs if baseline in (pair.first, pair.second)]

    def gain(pair: AcrossPair) -> tuple[bool, float]:
        ahead = pair.second == baseline
        return pair.shown and ahead, pair.difference if ahead else -pair.difference

    return max(contrasts, key=gain)


def _gain(pair: AcrossPair, across: Across) -> str:
    """Reports the gain of the pair that `_best_contrast` returns."""
    of = "of the normalised score" if across.differences == NORMALISED else across.differences
    by = f"{difference_in_words(pair, across)} {of}"
    in_tasks = f"in {pair.wins} of {counted(len(across.tasks), 'task')}"
    test = f"Wilcoxon's signed-rank test over tasks, {_corrected_in_words(pair, across)}"
    ahead, over = pair.second == across.baseline, f"over the baseline {across.baseline}"
    if pair.shown and ahead:
        return f"{pair.first} gained {by} {over}, ahead {in_tasks} ({test})."
    if pair.shown:
        found = f"it did better than {pair.second}, the nearest to it, by {by}, ahead {in_tasks}"
        return f"No gain {over}: {found} ({test})."
    nearest = (
        f"{pair.first}, the nearest to one, is ahead" if ahead else f"{pair.second}, the nearest to one, is behind"
    )
    return f"No gain {over} is shown: {nearest} by {by}, {in_tasks} ({test})."


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
    return (
        f"{pair.first} did better than {pair.second} over tasks: ahead in {pair.wins} of {len(across.tasks)}; a search "
        f"of it beats one of the other with a chance of {chance_in_words(pair)} (Wilcoxon's signed-rank test, "
        f"{_corrected_in_words(pair, across)})."
    )


def _corrected_in_words(pair: AcrossPair, across: Across) -> str:
    corrected = f", corrected for {len(across.pairs)} pairs" if len(across.pairs) > 1 else ""
    return f"{p_in_words(pair.corrected)}{corrected}"


def _none_shown(across: Across, rest: Sequence[AcrossPair]) -> list[str]:
    """Reports which pair of `rest` is nearest to significance, or that there are too few tasks for any."""
    tasks, pairs = len(across.tasks), len(across.pairs)
    if across.least_corrected > ALPHA:
        corrected = f", {across.least_corrected:.2g} corrected for {pairs} pairs" if pairs > 1 else ""
        return [
            f"{counted(tasks, 'task')}: no test of two strategies over tasks can show a difference at 5 %. Its p is "
            f"{across.least_p:.2g} at least{corrected}; from {across.tasks_needed} tasks on it can."
        ]
    if not rest:
        return []
    pair = min(rest, key=lambda pair: pair.corrected)
    return [
        f"No difference shown between any {'two' if len(rest) == pairs else 'other two'} over tasks: nearest to one "
        f"come {pair.first} and {pair.second}, the first ahead in {pair.wins} of {tasks} (Wilcoxon's signed-rank test, "
        f"corrected {p_in_words(pair.corrected)})."
    ]


def difference_in_words(pair: AcrossPair, across: Across) -> str:
    """Formats the difference of a pair as a number, with its interval if there is one."""
    digits, interval = difference_digits(across), pair.difference_interval
    bracketed = "" if interval is None else f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
    return f"{pair.difference:.{digits}f}{bracketed}"


def difference_digits(across: Across) -> int:
    """Returns the number of decimals of differences."""
    normalised = across.differences == NORMALISED
    return decimals_for(() if normalised else [mean for task in across.tasks for mean in task.means])


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
