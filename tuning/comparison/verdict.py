"""Writes the verdict: what the test scores show about the strategies, or why they show nothing.

The tests behind its sentences are in `paired_tests`; `pairs` chooses them and corrects their p.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuning.comparison.formatting import decimals_for, format_interval, join_names
from tuning.comparison.imputation import DEFAULTS
from tuning.comparison.pairs import FEWEST_SEEDS
from tuning.comparison.power import MAX_SEEDS
from tuning.comparison.types import Pair, StrategyRow
from tuning.comparison.verdict_levels import ALPHA

SCOPE = "That holds for these splits, this model, space and budget."


def verdict_text(
    rows: Sequence[StrategyRow],
    pairs: Sequence[Pair],
    metric: str,
    baseline: StrategyRow,
    worthwhile: float | None = None,
    *,
    may_grow: bool = False,
) -> str:
    """Returns the verdict in a few sentences.

    A difference between strategies is claimed only with at least three seeds and a corrected p of at most 5 %.

    Args:
        rows: all strategies.
        pairs: all pairs.
        metric: of the objective.
        baseline: the strategy that the others are compared with first. If it is of kind `defaults`, the first sentence
            reports what tuning gained.
        worthwhile: the smallest difference that matters; None: not set.
        may_grow: True if a verdict with more seeds is planned.
    """
    more = "`tunefleet extend` adds them" if may_grow else "in an experiment of their own"
    if (missing := _why_no_verdict(rows, pairs)) is not None:
        return missing
    gained = _gain(rows, pairs, metric, baseline, worthwhile, more) if baseline.kind == DEFAULTS else None
    shown = [pair for pair in pairs if pair.shown]
    if not shown and gained is None:
        pair = pair_of_two_best(rows, pairs)
        if pair.about != "strategies":
            gain = "One seed each cannot show whether tuning gained anything over the defaults. "
            return f"{gain if baseline.kind == DEFAULTS else ''}{_single_seed(pair, rows, metric)}"
        sentences = [
            _no_difference(pair, metric, worthwhile, more),
            *_equal([one for one in pairs if one != pair], worthwhile),
        ]
    else:
        first, about = gained or ("", None)
        rest = [pair for pair in pairs if pair is not about]
        sentences = [
            *([first] if first else []),
            *(_better(pair, metric, len(pairs), worthwhile) for pair in rest if pair.shown),
            *_equal(rest, worthwhile),
            *_undecided(rest, worthwhile),
        ]
    if any(pair.shown or pair.answer == "no larger" for pair in pairs):
        sentences.append(SCOPE)
    return " ".join(part for part in sentences if part)


def _why_no_verdict(rows: Sequence[StrategyRow], pairs: Sequence[Pair]) -> str | None:
    """Returns why strategies cannot be compared; None if they can."""
    scored = [row for row in rows if row.best is not None]
    if len(rows) == 1 and scored:
        return "No verdict: one strategy alone, so there is nothing to compare it with."
    if not scored:
        return "No verdict: no strategy has a score."
    if len(scored) < 2:
        return "No verdict: fewer than two strategies have a score, so there is nothing to compare."
    unscored = [row.strategy for row in scored if row.test is None and not any(s.test is not None for s in row.studies)]
    if unscored:
        return (
            f"No verdict: {join_names(unscored)} {'has' if len(unscored) == 1 else 'have'} no test score, "
            "and a validation score that chose a configuration cannot judge it as well."
        )
    return None if pairs else "No verdict: no two strategies have a test score of the same seed."


def _gain(
    rows: Sequence[StrategyRow],
    pairs: Sequence[Pair],
    metric: str,
    baseline: StrategyRow,
    worthwhile: float | None,
    more: str,
) -> tuple[str, Pair] | None:
    """Returns what tuning gained over the defaults and the pair with the best evidence; None with one seed each."""
    contrasts = [pair for pair in pairs if baseline.strategy in (pair.first, pair.second) and pair.seeds > 1]
    if not contrasts:
        return None
    ahead = {id(pair): abs(pair.difference) * (1 if pair.second == baseline.strategy else -1) for pair in contrasts}
    best = max(contrasts, key=lambda pair: (pair.shown and ahead[id(pair)] > 0, ahead[id(pair)]))
    tuned = best.first if best.second == baseline.strategy else best.second
    row = next(row for row in rows if row.strategy == tuned)
    cost = f"{(row.device_seconds + row.confirming) / len(row.studies):,.0f} device-seconds"
    if best.shown and tuned == best.first:
        first, second = _means(best)
        return (
            f"Tuning gained {_difference(best)} {metric} over the defaults for {cost} a search: {tuned} {first} "
            f"against {second} on test, on average over {best.seeds} seeds ({best.test}, p {_p(best.corrected)}"
            f"{_correction(len(pairs))}). {_by_how_much(best, worthwhile)}".strip()
        ), best
    if best.shown:
        return f"Tuning lost: {_better(best, metric, len(pairs), worthwhile)} It took {cost} a search.", best
    first, second = _means(best) if tuned == best.first else _means(best)[::-1]
    small = best.answer == "no larger"  # equivalence is shown, which is stronger than showing no difference
    found = (
        f"{'Tuning gained nothing that matters' if small else 'No gain of tuning'} over the defaults"
        f"{'' if small else ' is shown'}, for {cost} a search: {metric} of {tuned} {first} against {second} on test, "
        f"on average over {best.seeds} seeds, a difference of {_difference(best)} ({best.test}, corrected p "
        f"{_p(best.corrected)})."
    )
    return f"{found} {_explain_no_difference(best, worthwhile, more)}".strip(), best


def _better(pair: Pair, metric: str, pairs: int, worthwhile: float | None) -> str:
    first, second = _means(pair)
    return (
        f"{pair.first} did better than {pair.second}: test {metric} {first} against {second} on average over "
        f"{pair.seeds} seeds, a difference of {_difference(pair)} ({pair.test}, p {_p(pair.corrected)}"
        f"{_correction(pairs)}). {_by_how_much(pair, worthwhile)}"
    ).strip()


def _correction(pairs: int) -> str:
    return f", corrected for {pairs} pairs" if pairs > 1 else ""


def _by_how_much(pair: Pair, worthwhile: float | None) -> str:
    sentences = {
        "better by more": "That is more than the {} that matters.",
        "better": "Whether by more than the {} that matters is undecided.",
        "better by less": "That is less than the {} that matters.",
    }
    return "" if pair.answer is None else sentences[pair.answer].format(f"{worthwhile:g}")


def _equal(pairs: Sequence[Pair], worthwhile: float | None) -> list[str]:
    found = [f"{pair.first} and {pair.second} ({_difference(pair)})" for pair in pairs if pair.answer == "no larger"]
    return [f"As good as each other, within {worthwhile:g}: {'; '.join(found)}."] if found else []


def _undecided(pairs: Sequence[Pair], worthwhile: float | None) -> list[str]:
    """Lists the undecided pairs, beside those with an answer."""
    open_ones = [pair for pair in pairs if not pair.shown and pair.answer != "no larger"]
    if not open_ones:
        return []
    between = "; ".join(f"between {pair.first} and {pair.second} ({_difference(pair)})" for pair in open_ones)
    return [f"{'No difference shown' if worthwhile is None else 'Undecided'} {between}."]


def _no_difference(pair: Pair, metric: str, worthwhile: float | None, more: str) -> str:
    first, second = _means(pair)
    found = (
        f"No difference shown: test {metric} of the two best, {pair.first} {first} and {pair.second} {second} on "
        f"average over {pair.seeds} seeds, differs by {_difference(pair)} "
        f"({pair.test}, corrected p {_p(pair.corrected)})."
    )
    return f"{found} {_explain_no_difference(pair, worthwhile, more)}".strip()


def _explain_no_difference(pair: Pair, worthwhile: float | None, more: str) -> str:
    """Explains a difference that is not shown: equivalence, or the power of the test.

    Args:
        pair: without a difference shown.
        worthwhile: the smallest difference that matters.
        more: where more seeds come from.
    """
    if pair.seeds < FEWEST_SEEDS:
        return f"A statement about strategies needs at least {FEWEST_SEEDS} seeds."
    if pair.withheld is not None:
        return f"Nothing could be claimed of them: {pair.withheld}."
    if pair.answer == "no larger":
        return f"They differ by no more than the {worthwhile:g} that matters (two one-sided tests)."
    if pair.difference == 0 and pair.interval is None:
        return "Both have the same score with every seed, so nothing distinguishes them."
    can = ""
    if pair.detectable is not None:
        can = f"{evidence_in_words(pair)} can detect differences from {pair.detectable:.{decimals_for(pair.means)}f} on"
    if worthwhile is None:
        return f"{can[:1].upper()}{can[1:]}; without `worthwhile` nothing is called equal." if can else ""
    if pair.too_few_rows:
        takes = "more test rows, whatever the number of seeds"
    elif pair.beyond:
        takes = f"more than {MAX_SEEDS} seeds"
    elif pair.seeds_needed is None or pair.seeds_needed <= pair.seeds:
        return f"Undecided: {can}." if can else "Undecided."
    else:
        takes = f"about {pair.seeds_needed} seeds, {more}"
    return f"Undecided: {can + '; ' if can else ''}to detect {worthwhile:g}, which would matter, takes {takes}."


def evidence_in_words(pair: Pair) -> str:
    """Describes the evidence of a pair: its seeds and, if known, test rows."""
    on = f" on {pair.rows:,} test rows" if pair.rows else ""
    return f"{pair.seeds} seeds{on}" if pair.seeds > 1 else f"one seed{on}"


def _single_seed(pair: Pair, rows: Sequence[StrategyRow], metric: str) -> str:
    """Describes a pair with one seed each, which compares models or configurations, not strategies."""
    what = "models" if pair.about == "models" else "configurations"
    scores = f"{pair.first} {_study_score(rows, pair.first)} and {pair.second} {_study_score(rows, pair.second)}"
    if pair.p is None:
        return (
            f"No verdict: {scores} on test, but {metric} is no share of rows and its rows are not recorded, "
            "so one score per strategy does not show its uncertainty."
        )
    by = f"{_difference(pair)} ({pair.test}, {'' if len(rows) == 2 else 'corrected '}p {_p(pair.corrected)})"
    if (pair.corrected or 0.0) > ALPHA:
        return (
            f"No difference shown: test {metric} of the two best, {scores}, differs by {by}; and one seed each could "
            f"distinguish their {what}, not the strategies."
        )
    return (
        f"No difference shown between strategies: one seed each. The {what} that they chose do differ on these test "
        f"rows: {scores}, by {by}. Another seed may reverse that."
    )


def pair_of_two_best(rows: Sequence[StrategyRow], pairs: Sequence[Pair]) -> Pair:
    """Returns the pair of the two best strategies: the one without losses, and the one that lost to it only."""
    losses = {row.strategy: sum(pair.second == row.strategy for pair in pairs) for row in rows}
    return min(pairs, key=lambda pair: (losses[pair.first] + losses[pair.second], losses[pair.first]))


def _means(pair: Pair) -> tuple[str, str]:
    """Formats both means over the common seeds."""
    digits = decimals_for(pair.means)
    return f"{pair.means[0]:.{digits}f}", f"{pair.means[1]:.{digits}f}"


def _study_score(rows: Sequence[StrategyRow], strategy: str) -> str:
    row = next(row for row in rows if row.strategy == strategy)
    study = next(study for study in row.studies if study.test is not None)
    interval = "" if study.interval is None else f" {format_interval(study.interval, [study.test])}"
    return f"{study.test:.{decimals_for([study.test])}f}{interval}"


def _difference(pair: Pair) -> str:
    """Formats the size of the difference and its interval, positive in favour of the first."""
    digits = decimals_for(pair.means)
    size = f"{abs(pair.difference):.{digits}f}"
    if pair.interval is None:
        return size
    if pair.difference < 0:  # a lower score is better
        low, high = -pair.interval.high, -pair.interval.low
    else:
        low, high = pair.interval.low, pair.interval.high
    return f"{size} [{low:.{digits}f}, {high:.{digits}f}]"


def _p(p: float | None) -> str:
    assert p is not None
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
