"""Formats a comparison as tables of texts, for the terminal, Markdown and HTML."""

from __future__ import annotations

from typing import NamedTuple

from trainables.metrics import COSTS
from tuning.comparison.formatting import decimals_for, format_interval
from tuning.comparison.front import value_cells
from tuning.comparison.types import Comparison, Interval, Pair, StrategyRow, StudyRow

INTERVAL = "[95 %]"  # ends the heading of a column with intervals, which must not be wrapped
TEST, DIFFERENCE = f"test {INTERVAL}", f"difference {INTERVAL}"
NUMBERS = frozenset(
    {"device-s", "epochs", "rank", "p corr.", "P(A>B)", "seeds", "can tell"}
)  # columns that are right-aligned


class Line(NamedTuple):
    """One row of a table."""

    cells: tuple[str, ...]
    emphasis: str = ""  # "bold", "dim", or none


class TextTable(NamedTuple):
    """A table of texts: a header and its rows."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Returns the tables of a comparison: scores and costs, and with several strategies ranks and all pairs."""
    tables = [*([front_table(comparison)] if comparison.front else []), strategies_table(comparison)]
    if len(comparison.rows) > 1 and len((evidence := _evidence_table(comparison)).columns) > 1:
        tables.append(evidence)
    if len(comparison.pairs) > 1:
        tables.append(_pairs_table(comparison))
    return tables


def front_table(comparison: Comparison) -> TextTable:
    """Returns a table with a line per configuration on the front; values on test stand in brackets."""
    metrics = tuple(comparison.front[0].validation)
    lines = [
        Line((point.pick, f"{point.strategy}, seed {point.seed}", *value_cells(point).values()))
        for point in comparison.front
    ]
    tested = " (test)" if any(point.test for point in comparison.front) else ""
    columns = [name if name in COSTS else f"{name}{tested}" for name in metrics]
    return TextTable(("--pick", "found by", *columns), tuple(lines))


def strategies_table(comparison: Comparison) -> TextTable:
    """Returns a table with a line per strategy, with median validation and mean test score, and one per seed."""
    lines = []
    for row in comparison.rows:
        lines.append(Line(_strategy_cells(row), "bold" if row is comparison.best else ""))
        if len(row.studies) > 1:
            lines += (Line(_study_cells(study), "dim") for study in row.studies)
    return TextTable(("strategy", "validation", TEST, "device-s", "epochs", "done/stop/fail"), tuple(lines))


def _strategy_cells(row: StrategyRow) -> tuple[str, ...]:
    best, several = row.best, len(row.studies) > 1
    validation = "-" if row.median_validation is None else f"{row.median_validation:.4f}"
    ends = f"{row.completed}/{row.stopped}/{row.failed}"
    test = "-" if row.test is None else _scored(row.test.value, row.test.interval)
    return (
        row.strategy,
        validation,
        test if several or best is None else _scored(best.test, best.interval),
        f"{row.device_seconds:,.0f}",
        f"{row.epochs:g}",
        f"{ends} +{row.running} running" if row.running else ends,
    )


def _study_cells(study: StudyRow) -> tuple[str, ...]:
    validation = "-" if study.chosen is None else f"{study.chosen.validation:.4f}"
    test = _scored(study.test, study.interval)
    return f"  seed {study.seed}", validation, test, f"{study.device_seconds:,.0f}", f"{study.epochs:g}", ""


def _evidence_table(comparison: Comparison) -> TextTable:
    """Returns cost to target, mean ranks, confirmed scores and money; columns without values are left out."""
    ranks = {rank.strategy: f"{rank.mean:.2f}" for rank in comparison.ranks if len(rank.ranks) > 1}
    columns = {"strategy": [row.strategy for row in comparison.rows]}
    if ranks:
        columns["rank"] = [ranks[row.strategy] for row in comparison.rows]
    if any(len(row.studies) > 1 and row.worst_test is not None for row in comparison.rows):
        columns["test worst, middle"] = [_worst_and_middle(row) for row in comparison.rows]
    if comparison.target is not None:
        columns[f"device-s to reach {comparison.target:.4g}"] = [_reach(row) for row in comparison.rows]
    if any(row.gap is not None for row in comparison.rows):
        columns["confirmed (search)"] = [_confirmed(row) for row in comparison.rows]
    if comparison.price is not None:
        heading = f"cost {comparison.price.currency}".rstrip()
        columns[heading] = [f"{row.money:,.2f}" for row in comparison.rows]
    return TextTable(tuple(columns), tuple(Line(cells) for cells in zip(*columns.values(), strict=True)))


def _worst_and_middle(row: StrategyRow) -> str:
    """Formats the test score of the worst seed and the interquartile mean over seeds."""
    if row.worst_test is None or row.middle_test is None:
        return "-"
    digits = decimals_for([row.worst_test, row.middle_test])
    return f"{row.worst_test:.{digits}f}, {row.middle_test:.{digits}f}"


def _reach(row: StrategyRow) -> str:
    if row.reach is None:
        return "-"
    cost = f"{row.reach.median:,.0f}" if row.reach.median is not None else f"> {row.reach.at_least or 0:,.0f}"
    seeds = len(row.reach.costs)
    return cost if seeds == 1 else f"{cost} ({row.reach.reached} of {seeds} seeds)"


def _confirmed(row: StrategyRow) -> str:
    """Formats the mean confirmed validation score over seeds, and the mean score of the searches."""
    found = [study for study in row.studies if study.confirmed and study.chosen]
    if not found:
        return "-"
    confirmed = sum(study.confirmed.mean for study in found if study.confirmed) / len(found)
    searched = sum(study.chosen.validation for study in found if study.chosen) / len(found)
    return f"{confirmed:.4f} ({searched:.4f})"


def _pairs_table(comparison: Comparison) -> TextTable:
    lines = (Line(_pair_cells(pair), "bold" if pair.shown else "") for pair in comparison.pairs)
    return TextTable(("pair", DIFFERENCE, "p corr.", "P(A>B)", "seeds", "can tell"), tuple(lines))


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    interval = "" if pair.interval is None else f" {format_interval(pair.interval, pair.means)}"
    return (
        f"{pair.first} - {pair.second}",
        f"{pair.difference:.{decimals_for(pair.means)}f}{interval}",
        _p(pair.corrected),
        f"{pair.better:.0%}",
        f"{pair.seeds}",
        "-" if pair.detectable is None else f"{pair.detectable:.{decimals_for(pair.means)}f}",
    )


def _p(p: float | None) -> str:
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _scored(score: float | None, interval: Interval | None) -> str:
    if score is None:
        return "-"
    digits = decimals_for([score])
    if interval is None:
        return f"{score:.{digits + 1}f}"
    return f"{score:.{digits}f} {format_interval(interval, [score])}"
