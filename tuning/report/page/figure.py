"""What a figure of the page is: drawings, the same in words, and the table of the numbers behind it.

Plotly draws on the reader's machine; here a drawing is Plotly's JSON without colours of text, grid and ground, which
the page takes from its light, dark or printed style.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from trainables.spec import Value

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Drawing

    from tuning.outcome import ExperimentOutcome

Cell = str | float | int | None

# Each has a contrast of at least 3:1 on the light and on the dark ground (WCAG 2.2, 1.4.11), so that one drawing serves
# both. No figure tells by colour alone: dashes, symbols or labels say the same.
PALETTE = ("#0b7dda", "#c4601d", "#2b8a57", "#9a5bd0", "#b8487c", "#857a14", "#00869a", "#c9485b")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
ALL = "all strategies"  # the view that shows every strategy together
WINNER = "#c4601d"  # the colour of the winner's line, which is also the thickest
# From the worst score to the best: no end fades into either ground, as those of the usual scales do.
SCALE = ((0.0, "#c4601d"), (0.5, "#80808c"), (1.0, "#0b7dda"))
STATE_COLOURS = {"completed": "#2b8a57", "stopped": "#857a14", "failed": "#c9485b", "running": "#0b7dda"}


class DataTable(NamedTuple):
    """Rows of numbers and texts; also what the CSV of a figure holds."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None  # the index of the row that is marked as the winner's


EMPTY = DataTable((), ())


class View(NamedTuple):
    """One drawing of a figure; the reader picks one where there are several."""

    label: str
    summary: str  # what is to be seen, in words: read aloud in place of the drawing
    plot: Mapping[str, Any]  # `data` and `layout` of Plotly
    width: int = 0  # CSS pixels that it needs at least; where there are fewer it scrolls in its place


@dataclass(frozen=True)
class Figure:
    """A figure with its views, or why there is none."""

    id: str
    title: str
    about: str  # how to read it
    views: tuple[View, ...] = ()
    table: DataTable = EMPTY
    missing: str | None = None  # why it is not shown

    def to_json(self) -> dict[str, Any]:
        """What the page's script needs to draw it."""
        views = [view._asdict() for view in self.views]
        return {"title": self.title, "views": views, "columns": self.table.columns, "rows": self.table.rows}


def plotly_json(drawing: Drawing, *, height: int) -> dict[str, Any]:
    """Plotly's JSON of `drawing`, `height` CSS pixels high, as wide as its place, with everything of the page's style
    taken out."""
    drawing.update_layout(height=height, title=None, template=None)
    plot: dict[str, Any] = json.loads(drawing.to_json())
    layout = plot["layout"]
    for key in ("template", "plot_bgcolor", "paper_bgcolor"):
        layout.pop(key, None)
    for annotation in layout.get("annotations", []):
        annotation.get("font", {}).pop("color", None)
    layout.setdefault("margin", {"l": 56, "r": 16, "t": 24, "b": 56})
    return plot


def colours(outcome: ExperimentOutcome) -> dict[str, str]:
    """A colour per strategy, the same in every figure."""
    names = dict.fromkeys(study.strategy for study in outcome.studies)
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def dashes(outcome: ExperimentOutcome) -> dict[str, str]:
    """A dash per strategy, for whoever cannot tell the colours."""
    names = dict.fromkeys(study.strategy for study in outcome.studies)
    return {name: DASHES[index % len(DASHES)] for index, name in enumerate(names)}


def plotly_text(text: object) -> str:
    """`text` for a label or a hover box: Plotly reads a little HTML in both."""
    return html.escape(str(text), quote=False)


def format_number(value: float | None) -> str:
    """As the page writes numbers: whole ones with thousands, others with four digits."""
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def wants_log(values: Sequence[Value]) -> bool:
    """True if an axis of these is better read in powers of ten: positive numbers over more than a factor of 20."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) > 0 and min(numbers) > 0 and max(numbers) > 20 * min(numbers)


def table_cell(value: Value) -> Cell:
    """A hyperparameter's value in a table."""
    return str(value).lower() if isinstance(value, bool) else value


def format_value(value: Value) -> str:
    """A hyperparameter's value in a sentence."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    return str(table_cell(value))
