"""The table of trials above a bar that a study's progress shows on a terminal or in a notebook.

In: a `ProgressState`. Out: what rich draws.
"""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuning.outcome import TrialState
from tuning.study.progress_state import ProgressState, Row

MOST_ROWS = 30  # trials in the table, however high the terminal is


def render(state: ProgressState, title: str, position: str, rows: int = MOST_ROWS) -> RenderableType:
    """Return the table of trials above the bar. Widths do not follow the values, so the picture does not move."""
    if not state.begun:
        return Text(f"{title}: the first trials are starting ...")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, side, width in (
        ("trial", "right", 5),
        ("state", "left", len(TrialState.COMPLETED)),
        ("epoch", "right", 5),
        (state.objective.metric, "right", 6),
        ("best", "right", 6),
    ):
        table.add_column(heading, justify=side, min_width=width, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("parameters")  # the only one that gives way on a narrow terminal
    for row in state.rows(rows):
        table.add_row(*_cells(row), style="bold" if row.best is not None and row.best == state.best else "")
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(total=1.0, completed=state.share, width=30), Text(position, no_wrap=True))
    counts = ", ".join(f"{count} {name}" for name, count in state.counts().items())
    used = f"; {slots_used(state)}" if state.slots else ""
    planned = "" if state.trials is None else f" of {state.trials}"
    return Group(table, bar, Text(f"{counts}{planned} trials; best {shown_score(state.best)}{used}"))


def slots_used(state: ProgressState) -> str:
    """Return how many of its slots the study has held on average so far."""
    return f"{state.used:.1f} of {state.slots:.1f} slots in use on average"


def _cells(row: Row) -> tuple[str | Text, ...]:
    epochs = f"{row.epoch:g}/{row.horizon:g}"
    params = Text(row.params, no_wrap=True, overflow="ellipsis")
    return str(row.number), str(row.state), epochs, shown_score(row.last), shown_score(row.best), params


def shown_score(score: float | None) -> str:
    """Return a score with four decimals, as in the comparison; with four digits where it is tiny or large."""
    if score is None:
        return "-"
    return f"{score:.4f}" if score == 0 or 1e-2 <= abs(score) < 1e4 else f"{score:.3e}"
