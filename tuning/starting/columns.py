"""Tells what the columns of a user's files hold: texts, classes, numbers, or row names. Rows in, profiles out."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from trainables.errors import InputError
from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.files import ALIASES, file_format, read_table, split_files
from trainables.tasks.tables import RawTable

LIMIT = 1 << 26  # bytes of a file that are looked at
MOST_CLASSES = 20  # distinct numbers; more of them are classes only if they look like class ids
MOST_NAMES = 200  # distinct texts; more of them are no classes
MANY_MISSING = 0.1  # share of the cells
LABEL_WORDS = 5  # a label has no more on average
TEXT_WORDS = 2.5  # a text has more on average
# Pieces of words that a tokenizer makes, roughly: words, single signs, and each character of scripts without blanks.
UNSPACED = r"[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f]"
PIECES = re.compile(rf"{UNSPACED}|[^\W_]+|[^\w\s]")
UNSPACED_PER_WORD = 2  # characters
PIECES_PER_WORD = 1.3
ROW_NAMES = re.compile(
    r"(unnamed: ?\d+|_?id|idx|index|row|row_?(id|number|num)|guid|uuid|.*_id|.*_idx|.*id)", re.IGNORECASE
)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?")


@dataclass(frozen=True)
class Column:
    """One column of the training rows."""

    name: str
    cells: Sequence[Any] = field(repr=False)
    class_names: tuple[str, ...] = ()  # by id, where the file names them
    named: bool = False  # a column beside it has a name for each of its values, as label_text has for label

    @cached_property
    def texts(self) -> list[str]:
        """The cells with a value, as texts."""
        return [text for cell in self.cells if (text := _text(cell)) is not None]

    @property
    def missing(self) -> int:
        """The number of cells without a value."""
        return len(self.cells) - len(self.texts)

    def is_missing(self, row: int) -> bool:
        """True if the cell of `row`, from 0, has no value."""
        return _text(self.cells[row]) is None

    @property
    def is_sparse(self) -> bool:
        """True if many of its cells have no value, more than a label or a text lacks by mistake."""
        return self.missing > MANY_MISSING * len(self.cells)

    @cached_property
    def counts(self) -> Counter[str]:
        """The number of rows of each value."""
        return Counter(self.texts)

    @cached_property
    def words(self) -> float:
        """The mean number of words of a value, about."""
        unspaced = sum(len(re.findall(UNSPACED, text)) for text in self.texts) / UNSPACED_PER_WORD
        return (sum(len(text.split()) for text in self.texts) + unspaced) / max(1, len(self.texts))

    @cached_property
    def numbers(self) -> list[float] | None:
        """The values as numbers; None where one of them is no number."""
        found = [_number(text) for text in self.counts]
        return None if not found or any(number is None for number in found) else [n for n in found if n is not None]

    @property
    def is_plain(self) -> bool:
        """True if all cells are texts, numbers, truth values or nothing: no lists or objects."""
        return all(cell is None or isinstance(cell, str | int | float) for cell in self.cells)

    @property
    def names_rows(self) -> bool:
        """True if its values identify rows, as an id or a date does."""
        if len(self.counts) < len(self.texts) and not self.holds_dates:
            return False
        if self.holds_dates or ROW_NAMES.fullmatch(self.name):
            return True
        if self.numbers is not None:
            return not self.has_fractions and max(self.numbers) - min(self.numbers) == len(self.numbers) - 1
        return self.words <= 1

    @property
    def holds_dates(self) -> bool:
        """True if all its values are dates or times."""
        return bool(self.texts) and all(DATE.fullmatch(text.strip()) for text in self.counts)

    @property
    def has_fractions(self) -> bool:
        """True if its values are numbers, and not all of them whole."""
        return self.numbers is not None and any(not number.is_integer() for number in self.numbers)

    @property
    def holds_class_ids(self) -> bool:
        """True if its values look like the ids of classes: named beside it, or 0, 1, 2, ... without a gap, repeated."""
        if self.numbers is None or self.has_fractions or not self.repeats or len(self.counts) > MOST_NAMES:
            return False
        first = min(self.numbers)
        return self.named or (first in (0, 1) and max(self.numbers) - first == len(set(self.numbers)) - 1)

    @property
    def repeats(self) -> bool:
        """True if a value stands in two rows or more, on average."""
        return 2 * len(self.counts) <= len(self.texts)

    @property
    def holds_text(self) -> bool:
        """True if its values are texts for a model to read."""
        strings = all(isinstance(cell, str) for cell in self.cells if cell is not None)
        plain = strings and self.numbers is None and not self.holds_dates
        return bool(self.texts) and plain and self.words > TEXT_WORDS

    @property
    def holds(self) -> str:
        """The kind of label that it could be: `classes`, `numbers`, or "" for none."""
        distinct = len(self.counts)
        if self.class_names:
            return "classes"
        if distinct < 2 or not self.is_plain or self.names_rows:
            return ""
        if self.numbers is not None:
            return "classes" if distinct <= MOST_CLASSES or self.holds_class_ids else "numbers"
        few = distinct < len(self.texts) and distinct <= min(MOST_NAMES, max(2, len(self.texts) // 2))
        return "classes" if few and self.words <= LABEL_WORDS else ""

    def describe(self) -> str:
        """The column in a few words, for messages."""
        if not self.texts:
            return f"{self.name} (empty)"
        if not self.is_plain and all(isinstance(cell, list) and len(cell) == 1 for cell in self.cells):
            return f"{self.name} (lists of one element: write the element alone, and it can be the label)"
        if not self.is_plain:
            return f"{self.name} (lists or objects: one label per row is what a task has)"
        return f"{self.name} ({len(self.counts)} distinct, {self.words:.3g} words each)"


class TrainingRows(NamedTuple):
    """The training rows of a user's files, as far as they were looked at."""

    path: Path  # a file or a folder, as `data.path` names it
    columns: tuple[Column, ...]
    splits: Mapping[str, tuple[str, ...]]  # train, validation, test -> the names of their files
    complete: bool  # false: of large files only the beginning was looked at
    ignored: tuple[str, ...] = ()  # files beside, which are not read


def read_rows(path: Path, encoding: str | None = None) -> TrainingRows:
    """The columns of a file, or of the training files of a folder. A folder with a single file is that file.

    Raises:
        InputError: there is no such file, it cannot be read, or it has no columns or no rows.
    """
    if not path.exists():
        step = "check the path; a data set of the Hub is named in a spec, by data.hub"
        raise InputError("--data", str(path), "no such file or folder", step)
    path = _only_file(path)
    try:
        found = split_files(DataSpec.model_construct(path=str(path)))
        tables = [_whole(file, encoding) for file in found["train"]]
    except TaskError as error:
        step = error.next_step.replace("set data.encoding: ", "give --encoding ")
        option = "--encoding" if error.name == "data.encoding" else "--data"
        raise InputError(option, error.value, error.rule, step) from error
    first = tables[0]
    columns = tuple(
        Column(
            name, [cell for table in tables for cell in table.columns.get(name, ())], first.class_names.get(name, ())
        )
        for name in first.available
    )
    if not columns or not columns[0].cells:
        raise InputError("--data", str(path), "has no rows", "write a line of column names and at least a few rows")
    if "looks like a row" in first.hint or _first_line_is_a_row(columns):
        step = "write the names of the columns above it, such as text,label"
        raise InputError(
            "--data", str(path), "its first line looks like a row, not like the names of the columns", step
        )
    splits = {split: tuple(file.name for file in files) for split, files in found.items()}
    columns = tuple(replace(column, named=_is_named(column, columns)) for column in columns)
    return TrainingRows(path, columns, splits, all(table.reading.complete for table in tables))


def _is_named(column: Column, columns: Sequence[Column]) -> bool:
    """True if a column such as `label_text` or `label_name` has one text for each value of `column`, `label`."""
    if column.numbers is None or not column.repeats:
        return False
    beside = [other for other in columns if other.name.lower().startswith(f"{column.name.lower()}_")]
    return any(
        other.numbers is None
        and other.is_plain
        and len(column.counts) == len(other.counts) == len(set(zip(column.cells, other.cells, strict=True)))
        for other in beside
    )


def _first_line_is_a_row(columns: Sequence[Column]) -> bool:
    """True if the names look like a row: one is a class of its column, and another a text of several words."""
    classes = [column for column in columns if column.holds == "classes" and column.name in column.counts]
    texts = [column for column in columns if column.holds_text and len(column.name.split()) > TEXT_WORDS]
    return bool(classes and texts) or (bool(texts) and len(columns) == 1)


def _only_file(path: Path) -> Path:
    """The only file with rows in a folder, unless its name is that of a split; else `path`."""
    if not path.is_dir():
        return path
    files = [file for file in sorted(path.iterdir()) if file.is_file() and file_format(file)]
    splits = tuple(alias for aliases in ALIASES.values() for alias in aliases)
    return files[0] if len(files) == 1 and not files[0].name.startswith(splits) else path


def _whole(file: Path, encoding: str | None) -> RawTable:
    """Read every column of a file."""
    bare = DataSpec.model_construct(text=(), label="", encoding=encoding)
    names = read_table(file, bare, LIMIT).available or _keys(file)
    if not names:
        raise TaskError("data.path", str(file), "has no columns", "write a line of column names, or objects with keys")
    return read_table(file, DataSpec.model_construct(text=tuple(names), label=names[-1], encoding=encoding), LIMIT)


def _keys(file: Path) -> list[str]:
    """The columns of a JSON file that is one object with a column under each key."""
    if file_format(file) not in (".json", ".jsonl") or file.suffix == ".gz":
        return []
    whole = json.loads(file.read_text(encoding="utf-8-sig"))
    return list(whole) if isinstance(whole, dict) else []


def pieces(text: str) -> float:
    """About how many tokens a text has."""
    return PIECES_PER_WORD * len(PIECES.findall(text))


def _text(cell: Any) -> str | None:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell)
    return text if text.strip() else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
