"""Formats a comparison over several experiments as text: tables for the terminal, Markdown, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import IO

from trainables.wording import counted
from tuning.across.types import Across, AcrossRow
from tuning.across.verdict import chance_in_words, difference_in_words, middle_in_words
from tuning.comparison.formatting import decimals_for
from tuning.comparison.tables import INTERVAL, Line, TextTable
from tuning.comparison.text import console_for, rich_table, to_plain_json

ACROSS_VERSION = 2  # of the JSON schema; increases when a key changes
SHARES = (0.25, 0.5, 0.75)  # normalised scores at which the table shows the profile
CSV_COLUMNS = ("experiment", "metric", "strategy", "seeds", "test", "rank", "normalised", "device_seconds")


def print_across(across: Across, file: IO[str] | None = None) -> None:
    """Prints tables, verdict and caveats. It fits in 80 columns."""
    console = console_for(file)
    console.print(heading(across), highlight=False)
    for table in across_tables(across):
        console.print(rich_table(table))
    console.print(across.verdict, highlight=False, style="bold")
    for caveat in (*across.caveats, across.scale):
        console.print(f"- {caveat}", highlight=False)


def across_text(across: Across) -> str:
    """Returns the text that `print_across` prints."""
    text = io.StringIO()
    print_across(across, text)
    return text.getvalue().rstrip("\n")


def across_markdown(across: Across) -> str:
    """Formats the same content as Markdown."""
    lines = [f"## {heading(across)}", ""]
    for table in across_tables(across):
        lines += [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
        lines += [f"| {' | '.join(line.cells)} |" for line in table.lines]
        lines.append("")
    return "\n".join([*lines, f"**{across.verdict}**", "", *(f"- {one}" for one in (*across.caveats, across.scale))])


def across_json(across: Across) -> str:
    """Formats all fields as JSON, named as in `tuning.across.types`."""
    return json.dumps(to_plain_json({"schema_version": ACROSS_VERSION, **asdict(across)}), indent=2, allow_nan=False)


def across_csv(across: Across) -> str:
    """Formats a line per task and strategy as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for task in across.tasks:
        for place, name in enumerate(across.strategies):
            level = "" if task.normalised is None else task.normalised[place]
            values = (len(task.seeds), task.means[place], task.ranks[place], level, task.device_seconds[place])
            writer.writerow((task.experiment, task.metric, name, *values))
    return text.getvalue()


def heading(across: Across) -> str:
    """Returns the number of strategies and tasks in words."""
    return f"{counted(len(across.strategies), 'strategy', 'strategies')} over {counted(len(across.tasks), 'task')}"


def across_tables(across: Across) -> list[TextTable]:
    """Returns the tables of the strategies, the tasks and the pairs."""
    return [_strategies(across), _tasks(across), _pairs(across)]


def _strategies(across: Across) -> TextTable:
    above = f"above {', '.join(f'{share:g}' for share in SHARES)}"
    lines = (
        Line(
            (
                row.strategy,
                f"{row.rank:.2f}",
                f"{row.best_in} of {len(across.tasks)}",
                middle_in_words(row),
                _shares(row, across),
                f"{row.device_seconds:,.0f}",
            )
        )
        for row in across.rows
    )
    return TextTable(("strategy", "rank", "best in", f"middle {INTERVAL}", above, "device-s"), tuple(lines))


def _shares(row: AcrossRow, across: Across) -> str:
    """Formats the profile at a few normalised scores."""
    if not row.profile:
        return "-"
    return ", ".join(f"{100 * row.profile[across.thresholds.index(share)]:.0f}" for share in SHARES) + " %"


def _tasks(across: Across) -> TextTable:
    order = [across.strategies.index(row.strategy) for row in across.rows]
    lines = []
    for task in across.tasks:
        better = "higher" if task.mode == "max" else "lower"
        lines.append(Line((f"{task.experiment}", f"{task.metric}, {better}", "", "", f"{len(task.seeds)}"), "bold"))
        digits = decimals_for(task.means)
        for place in order:
            level = "-" if task.normalised is None else f"{task.normalised[place]:.2f}"
            cells = (f"  {across.strategies[place]}", f"{task.means[place]:.{digits + 1}f}", f"{task.ranks[place]:g}")
            lines.append(Line((*cells, level, "")))
    return TextTable(("task", "test, mean", "rank", "normalised", "seeds"), tuple(lines))


def _pairs(across: Across) -> TextTable:
    lines = (
        Line(
            (
                f"{pair.first} - {pair.second}",
                f"{pair.wins} : {pair.losses}",
                chance_in_words(pair),
                difference_in_words(pair, across),
                "<0.001" if pair.corrected < 0.001 else f"{pair.corrected:.3f}",
            ),
            "bold" if pair.shown else "",
        )
        for pair in across.pairs
    )
    return TextTable(("pair", "tasks", f"P(A>B) {INTERVAL}", f"A-B {INTERVAL}", "p corr."), tuple(lines))
