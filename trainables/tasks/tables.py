"""What every kind of file is read into: columns, how they were found, and where each row stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ReadOptions(NamedTuple):
    """How a file was read; see `trainables.tasks.summary.FileRead`."""

    encoding: str | None = None
    separator: str | None = None
    quoted: bool | None = None
    shape: str | None = None
    lines: int | None = None
    complete: bool = True


class RawTable(NamedTuple):
    """Columns of equal length, and the class names of those that carry them (Parquet written by `datasets`)."""

    columns: dict[str, list[Any]]  # those that were asked for
    class_names: Mapping[str, tuple[str, ...]]
    available: list[str]  # the names of all columns of the source
    lines: Sequence[int] | None = None  # where each row begins, counted from 1 as an editor does; None: no text file
    reading: ReadOptions = ReadOptions()
    hint: str = ""  # why the columns may not be the expected ones
