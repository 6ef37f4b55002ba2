"""The live table of a study in a notebook: one part of the cell's output, which is replaced again and again."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 110  # characters of the table
PAGE = '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;font-family:monospace">{code}</pre>'


class NotebookDisplay:
    """Shows what `picture` returns, as HTML; with the methods of rich's `Live` that `Progress` calls."""

    def __init__(self, picture: Callable[[], RenderableType]) -> None:
        self._picture = picture
        self._shown: Any = None  # IPython's handle of that part

    def start(self, refresh: bool = True) -> None:
        """Begin a part in the output of the cell that runs."""
        from IPython.display import HTML, display  # there wherever a notebook runs

        self._shown = display(HTML(self._html()), display_id=True)

    def refresh(self) -> None:
        """Replace that part by the present picture."""
        from IPython.display import HTML

        if self._shown is not None:
            self._shown.update(HTML(self._html()))

    def stop(self) -> None:
        """Draw the last picture, which stays."""
        self.refresh()

    def _html(self) -> str:
        return as_html(self._picture())


def as_html(picture: RenderableType) -> str:
    """Return `picture` as a block of HTML with its colours in it."""
    console = Console(
        record=True, file=io.StringIO(), width=WIDTH, force_jupyter=False, force_terminal=True, color_system="truecolor"
    )
    console.print(picture)
    return console.export_html(inline_styles=True, code_format=PAGE)
