"""The verdict in words: what the test split says of the strategies, or why it says nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuning.comparison.digits import decimals_for
from tuning.comparison.pairs import ALPHA, FEWEST_SEEDS
from tuning.comparison.power import MOST_SEEDS
from tuning.comparison.shapes import Interval, Pair, StrategyRow

SCOPE = "That holds for these splits, this model, space and budget."


def verdict_of(rows: Sequence[StrategyRow], pairs: Sequence[Pair], metric: str) -> str:
    """A few sentences. A difference between strategies is claimed of at least three seeds alone, and only where the
    corrected p is at most 5 %."""
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
            f"No verdict: {names(unscored)} {'has' if len(unscored) == 1 else 'have'} no test score, "
            "and a validation score that chose a configuration cannot judge it as well."
        )
    if not pairs:
        return "No verdict: no two strategies have a test score of the same seed."
    shown = [pair for pair in pairs if pair.shown]
    if shown:
        return " ".join([*(_better(pair, metric, len(pairs)) for pair in shown), _rest(pairs), SCOPE]).replace(
            "  ", " "
        )
    pair = of_the_two_best(rows, pairs)
    return _of_one_seed(pair, rows, metric) if pair.about != "strategies" else _no_difference(pair, metric)


def _better(pair: Pair, metric: str, pairs: int) -> str:
    correction = f", corrected for {pairs} pairs" if pairs > 1 else ""
    first, second = _means(pair)
    return (
        f"{pair.first} did better than {pair.second}: test {metric} {first} against {second} on average over "
        f"{pair.seeds} seeds, a difference of {_difference(pair)} ({pair.test}, p {_p(pair.corrected)}{correction})."
    )


def _rest(pairs: Sequence[Pair]) -> str:
    """What the pairs without a shown difference are, beside those with one."""
    others = [f"{pair.first} and {pair.second} ({_difference(pair)})" for pair in pairs if not pair.shown]
    return f"No difference shown between {names(others)}." if others else ""


def _no_difference(pair: Pair, metric: str) -> str:
    first, second = _means(pair)
    told = (
        f"No difference shown: test {metric} of the two best, {pair.first} {first} and {pair.second} {second} on "
        f"average over {pair.seeds} seeds, differs by {_difference(pair)} "
        f"({pair.test}, corrected p {_p(pair.corrected)})."
    )
    if pair.seeds < FEWEST_SEEDS:
        return f"{told} A statement about strategies needs at least {FEWEST_SEEDS} seeds."
    if pair.withheld is not None:
        return f"{told} Nothing could be claimed of them: {pair.withheld}."
    return f"{told} {_more_seeds(pair)}".strip()


def _more_seeds(pair: Pair) -> str:
    if pair.difference == 0:
        return ""
    if pair.too_few_rows:
        takes = "more test rows, whatever the number of seeds"
    elif pair.beyond:
        takes = f"more than {MOST_SEEDS} seeds"
    else:
        more = max(1, (pair.seeds_needed or 0) - pair.seeds)
        takes = f"about {more} more seed{'s' if more > 1 else ''}"
    return f"To show a difference of this size takes {takes}."


def _of_one_seed(pair: Pair, rows: Sequence[StrategyRow], metric: str) -> str:
    """One search each: about the models or configurations that they chose, and no further."""
    what = "models" if pair.about == "models" else "configurations"
    scores = f"{pair.first} {_of_study(rows, pair.first)} and {pair.second} {_of_study(rows, pair.second)}"
    if pair.p is None:
        return (
            f"No verdict: {scores} on test, but {metric} is no share of rows and its rows are not recorded, "
            "so its uncertainty cannot be told from one score per strategy."
        )
    by = f"{_difference(pair)} ({pair.test}, {'' if len(rows) == 2 else 'corrected '}p {_p(pair.corrected)})"
    if (pair.corrected or 0.0) > ALPHA:
        return (
            f"No difference shown: test {metric} of the two best, {scores}, differs by {by}; and one seed each could "
            f"tell their {what} apart, not the strategies."
        )
    return (
        f"No difference shown between strategies: one seed each. The {what} that they chose do differ on these test "
        f"rows: {scores}, by {by}. Another seed may turn that around."
    )


def of_the_two_best(rows: Sequence[StrategyRow], pairs: Sequence[Pair]) -> Pair:
    """The pair of the strategies that lost to nobody and to the best alone."""
    losses = {row.strategy: sum(pair.second == row.strategy for pair in pairs) for row in rows}
    return min(pairs, key=lambda pair: (losses[pair.first] + losses[pair.second], losses[pair.first]))


def _means(pair: Pair) -> tuple[str, str]:
    """Both means, over the seeds that both have."""
    digits = decimals_for(pair.means)
    return f"{pair.means[0]:.{digits}f}", f"{pair.means[1]:.{digits}f}"


def _of_study(rows: Sequence[StrategyRow], strategy: str) -> str:
    row = next(row for row in rows if row.strategy == strategy)
    study = next(study for study in row.studies if study.test is not None)
    interval = "" if study.interval is None else f" {shown_interval(study.interval, [study.test])}"
    return f"{study.test:.{decimals_for([study.test])}f}{interval}"


def _difference(pair: Pair) -> str:
    """Its size, with its interval where there is one: positive is in favour of the first."""
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


def shown_interval(interval: Interval, around: Iterable[float | None] = ()) -> str:
    """The interval in brackets, with as many decimals as the scores that it is `around`."""
    digits = decimals_for(around)
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def names(found: Sequence[str]) -> str:
    """One, two and three."""
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
