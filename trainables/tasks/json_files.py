"""Reads JSON in the shapes that tools write: a list of objects, an object per line, or pandas' `to_json` formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainables.tasks import TaskError
from trainables.tasks.decoding import DecodedText
from trainables.tasks.tables import RawTable, ReadOptions
from trainables.wording import some

PER_LINE = "an object per line"


class _Found(NamedTuple):
    rows: list[Any]
    shape: str
    lines: list[int] | None = None


def read_json_rows(path: Path, content: DecodedText, texts: Sequence[str], label: str) -> RawTable:
    """Reads the text columns and the label column; keys that an object lacks are None.

    Args:
        path: of the file, for messages.
        content: its decoded text.
        texts: names of the text and group columns.
        label: name of the label column.

    Raises:
        TaskError: the text is no JSON, or of a shape without rows.
    """
    if not content.text or content.text.isspace():
        raise TaskError("data.path", str(path), "is empty", f"write {_wanted(texts, label)}")
    found = _found(path, content.text, texts, label) if content.complete else _beginning(content.text)
    if found is None:
        names = [*texts, label]
        return RawTable({name: [] for name in names}, {}, names, reading=ReadOptions(content.encoding, complete=False))
    if not all(isinstance(row, dict) for row in found.rows):
        wrong = next(row for row in found.rows if not isinstance(row, dict))
        raise _other_shape(path, f"holds {json.dumps(wrong)[:60]} where an object is expected", texts, label)
    available = list(dict.fromkeys(name for row in found.rows for name in row))
    columns = {name: [row.get(name) for row in found.rows] for name in available if name in (*texts, label)}
    reading = ReadOptions(content.encoding, shape=found.shape, complete=content.complete)
    return RawTable(columns, {}, available, found.lines, reading)


def _found(path: Path, text: str, texts: Sequence[str], label: str) -> _Found:
    try:
        whole = _read(text)
    except ValueError as error:
        if text.lstrip()[:1] == "[":
            raise _broken(path, error) from error
        return _per_line(path, text)
    if isinstance(whole, list):
        return _Found(whole, "a list of objects")
    if isinstance(whole, dict):
        return _from_object(path, whole, texts, label)
    raise _other_shape(path, f"holds {json.dumps(whole)[:60]}", texts, label)


def _read(text: str) -> Any:
    """Parses JSON.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deeply: line 1 column 1") from error


def _beginning(text: str) -> _Found | None:
    """The complete objects of a truncated text, in a list or one per line; None if there are none."""
    decoder, rows = json.JSONDecoder(), []
    listed = text.lstrip()[:1] == "["
    place = text.index("[") + 1 if listed else 0
    between = re.compile(r"[\s,]*")
    while (start := between.match(text, place)) and start.end() < len(text):
        try:
            row, place = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            break
        rows.append(row)
    return _Found(rows, "a list of objects" if listed else PER_LINE) if rows else None


def _per_line(path: Path, text: str) -> _Found:
    """Parses an object per line. Not by splitlines(): JSON leaves U+2028 and others unescaped in texts."""
    numbered = [(n, line) for n, line in enumerate(re.split(r"\r\n|\n|\r", text), 1) if line.strip()]
    lines = [n for n, _ in numbered]
    try:  # at once, which is faster; only if that fails, line by line
        rows = _read("[" + ",".join(line for _, line in numbered) + "]")
    except ValueError:
        rows = []
    if len(rows) == len(lines):
        return _Found(rows, PER_LINE, lines)
    broken: list[tuple[int, str]] = []
    for n, line in numbered:
        try:
            rows.append(_read(line))
        except ValueError as error:
            broken.append((n, str(error)))
    reason = re.sub(r": line 1 column (\d+).*", r" at character \1", broken[0][1])
    others = f", and so are {some((n for n, _ in broken[1:]))}" if len(broken) > 1 else ""
    rule = f"line {broken[0][0]} is no JSON ({reason}){others}"
    raise TaskError("data.path", str(path), rule, "correct or remove it; each line must be one whole object")


def _from_object(path: Path, whole: Mapping[str, Any], texts: Sequence[str], label: str) -> _Found:
    """Finds the rows in a file that is one object."""
    if set(texts) <= whole.keys():
        return _from_columns(path, whole, [name for name in (*texts, label) if name in whole])
    names, data = whole.get("columns"), whole.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return _Found([dict(zip(names, row, strict=False)) for row in data], "columns and rows, as pandas writes them")
    lists = {name: part for name, part in whole.items() if _has_objects(part)}
    if len(lists) == 1:
        [(name, rows)] = lists.items()
        return _Found(rows, f"a list of objects under {name!r}")
    if whole and all(isinstance(part, dict) and set(texts) <= part.keys() for part in whole.values()):
        return _Found(list(whole.values()), "an object per row number, as pandas writes them")
    seen = f"is an object with the keys {some(map(repr, whole), 6)}"
    if len(lists) > 1:
        raise TaskError("data.path", str(path), f"{seen}, of which several hold rows", "write one file per split")
    raise _other_shape(path, seen, texts, label)


def _from_columns(path: Path, whole: Mapping[str, Any], names: Sequence[str]) -> _Found:
    """Rows of an object whose keys are column names: with lists, with objects by row number, or a single row."""
    columns = [whole[name] for name in names]
    if all(isinstance(column, list) for column in columns):
        shape, cells = "a list per column", columns
    elif all(isinstance(column, dict) for column in columns):
        shape, keys = "columns by row number, as pandas writes them", list(columns[0])
        cells = [[column.get(key) for key in keys] for column in columns]
    else:
        return _Found([whole], "one object")
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        rule = f"its columns differ in length: {', '.join(f'{n} has {k}' for n, k in zip(names, lengths, strict=True))}"
        raise TaskError("data.path", str(path), rule, "write as many cells in each column")
    others = dict.fromkeys(whole)  # so that errors about a missing column can list the names of all columns
    return _Found([others | dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)], shape)


def _has_objects(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)


def _broken(path: Path, error: ValueError) -> TaskError:
    place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it"
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return TaskError("data.path", str(path), f"{place} is no JSON: {reason}", "repair it, or write it anew")


def _other_shape(path: Path, seen: str, texts: Sequence[str], label: str) -> TaskError:
    return TaskError("data.path", str(path), seen, f"write {_wanted(texts, label)}")


def _wanted(texts: Sequence[str], label: str) -> str:
    example = "{" + ", ".join(f'"{name}": ...' for name in (*texts, label)) + "}"
    return f"a list of objects such as [{example}, ...], or one such object per line"
