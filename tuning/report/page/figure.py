"""The parts of a figure on the page: drawings, their descriptions in words, and a table of the numbers.

The browser draws them with Plotly. A drawing is Plotly's JSON without colours of text, grid and background, which the
page takes from its light, dark or print style.
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

# Each colour has a contrast of at least 3:1 on the light and the dark background (WCAG 2.2, 1.4.11), so one drawing
# serves both. No figure relies on colour alone: dashes, symbols or labels show the same.
PALETTE = ("#0b7dda", "#c4601d", "#2b8a57", "#9a5bd0", "#b8487c", "#857a14", "#00869a", "#c9485b")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
ALL = "all strategies"  # the view of all strategies together
WINNER = "#c4601d"  # colour of the winner's line, which is also thicker
# From the worst score to the best. Unlike in usual scales, no end fades into either background.
SCALE = ((0.0, "#c4601d"), (0.5, "#80808c"), (1.0, "#0b7dda"))
STATE_COLOURS = {"completed": "#2b8a57", "stopped": "#857a14", "failed": "#c9485b", "running": "#0b7dda"}


class DataTable(NamedTuple):
    """A table of numbers and texts, and the content of a figure's CSV."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None  # index of the row that is marked as the winner's


EMPTY = DataTable((), ())


class View(NamedTuple):
    """One drawing of a figure. If there are several, the reader selects one."""

    label: str
    summary: str  # the drawing in words, for screen readers
    plot: Mapping[str, Any]  # `data` and `layout` of Plotly
    width: int = 0  # minimum in CSS pixels; in less space the drawing scrolls


@dataclass(frozen=True)
class Figure:
    """A figure with its views, or the reason why it is not shown."""

    id: str
    title: str
    about: str  # how to read it
    views: tuple[View, ...] = ()
    table: DataTable = EMPTY
    missing: str | None = None  # why it is not shown; None: it is

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON from which the page's script draws the figure."""
        views = [view._asdict() for view in self.views]
        return {"title": self.title, "views": views, "columns": self.table.columns, "rows": self.table.rows}


def plotly_json(drawing: Drawing, *, height: int) -> dict[str, Any]:
    """Converts a drawing to Plotly's JSON, without the parts that belong to the page's style.

    Args:
        drawing: a Plotly figure.
        height: in CSS pixels; the width follows the page.
    """
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
    """Returns a colour per strategy, the same in every figure."""
    names = dict.fromkeys(study.strategy for study in outcome.studies)
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(names)}


def dashes(outcome: ExperimentOutcome) -> dict[str, str]:
    """Returns a dash per strategy, for readers who cannot distinguish the colours."""
    names = dict.fromkeys(study.strategy for study in outcome.studies)
    return {name: DASHES[index % len(DASHES)] for index, name in enumerate(names)}


def plotly_text(text: object) -> str:
    """Escapes a text for a label or hover box, since Plotly interprets some HTML there."""
    return html.escape(str(text), quote=False)


def format_number(value: float | None) -> str:
    """Formats a number for the page: integers with thousands separators, others with four digits."""
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def wants_log(values: Sequence[Value]) -> bool:
    """Returns True if an axis of these values should be logarithmic: positive, over more than a factor of 20."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) > 0 and min(numbers) > 0 and max(numbers) > 20 * min(numbers)


def table_cell(value: Value) -> Cell:
    """Formats a hyperparameter for a table."""
    return str(value).lower() if isinstance(value, bool) else value


def format_value(value: Value) -> str:
    """Formats a hyperparameter for a sentence."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    return str(table_cell(value))
