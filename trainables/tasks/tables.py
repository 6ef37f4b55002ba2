"""The table that every kind of file is read into: columns, how they were read, and the line of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ReadOptions(NamedTuple):
    """The options with which a file was read; see `trainables.tasks.summary.FileRead`."""

    encoding: str | None = None
    separator: str | None = None
    quoted: bool | None = None
    shape: str | None = None
    lines: int | None = None
    complete: bool = True


class RawTable(NamedTuple):
    """Columns of equal length, and the class names of those that carry them (Parquet written by `datasets`)."""

    columns: dict[str, list[Any]]  # the wanted ones
    class_names: Mapping[str, tuple[str, ...]]  # by column, then by class id
    available: list[str]  # the names of all columns of the source
    lines: Sequence[int] | None = None  # the first line of each row, from 1; None: no text file
    reading: ReadOptions = ReadOptions()
    hint: str = ""  # appended to an error about a missing column
