"""Prints for commands: columns on standard output, messages on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence


def print_message(line: str) -> None:
    """Print one line on standard error, unless that was closed, such as with its terminal."""
    with contextlib.suppress(OSError):
        print(f"tunefleet: {line}", file=sys.stderr, flush=True)


def print_columns(rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Print rows of cells, each column as wide as its widest cell; `indent`: spaces before each row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(f"{' ' * indent}{'  '.join(cells)}".rstrip())


def drop_output() -> None:
    """Send the rest of standard output to nowhere: nobody reads it, and Python would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
