"""Reads CSV and TSV files: rows of fields between separators, with or without double quotes.

Unset options are detected and recorded in the result: the separator by the header that contains the wanted columns;
for a TSV, whether double quotes delimit fields or belong to the texts. Quoting must follow RFC 4180: an unclosed quote
would swallow the rows after it, so it is an error.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.decoding import DecodedText
from trainables.tasks.tables import RawTable, ReadOptions
from trainables.wording import some

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
HEAD = 1 << 20  # characters at the beginning in which the header is searched
LONGEST_NAME = 60  # characters; a longer field of the first line is a text, not a column name


class _Rows(NamedTuple):
    fields: list[list[str]]
    starts: list[int]  # the first line of each row, from 1
    ends: list[int]  # the last line of each row


class _Unreadable(Exception):
    """The quotes of a file are not balanced."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(line, rule)
        self.line, self.rule = line, rule


def separator_error(separator: str | None) -> TaskError | None:
    """The error for a separator that is no single character; None if it is valid."""
    if separator is None or (len(separator_of(separator)) == 1 and separator_of(separator) not in '"\r\n'):
        return None
    return TaskError("data.separator", separator, "is no single character", "write comma, semicolon, tab or pipe")


def separator_of(word: str) -> str:
    """The character that `word` stands for: `tab`, `\\t` and a tab itself are equal."""
    return {**{name: sign for sign, name in SEPARATORS.items()}, "\\t": "\t"}.get(word, word)


def read_delimited(path: Path, content: DecodedText, usual: str, options: DataSpec, wanted: Sequence[str]) -> RawTable:
    """Reads the `wanted` columns; cells are texts, and empty ones None.

    Args:
        path: of the file, for messages.
        content: its decoded text.
        usual: the separator that the file's suffix implies.
        options: `separator` and `quoted`; None: detected.
        wanted: the text columns, then the label column.

    Raises:
        TaskError: the separator is wrong, quotes are not balanced, or rows differ in their number of fields.
    """
    text, skipped, declared = _without_sep_line(content.text)
    if not text or text.isspace():
        raise TaskError("data.path", str(path), "is empty", "write a line of column names and at least one row")
    asked = None if options.separator is None else separator_of(options.separator)
    with _long_fields():
        separator = asked or declared or _found_separator(text, usual, wanted)
        _require_separator(path, text, separator, asked, wanted)
        quoted, rows = _parsed(path, text, separator, options.quoted, usual)
    [header, *fields], [_, *starts], [_, *ends] = rows
    names = [name.strip() for name in header]
    _require_equal_lengths(path, fields, starts, len(names), separator, quoted)
    if quoted and options.quoted is None:
        _require_none_swallowed(path, text, _Rows(fields, starts, ends), separator, names, wanted)
    columns = {name: [row[place] or None for row in fields] for place, name in enumerate(names) if name in wanted}
    lines = sum(ends) - sum(starts) + len(fields)
    reading = ReadOptions(content.encoding, separator, quoted, None, lines, content.complete)
    return RawTable(columns, {}, names, [start + skipped for start in starts], reading, _hint(names, separator))


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lifts Python's limit of 128 KiB per field for the block: a text may be a book."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _without_sep_line(text: str) -> tuple[str, int, str | None]:
    """Strips Excel's first line `sep=;`; returns the rest, the number of stripped lines, and the declared separator."""
    found = re.match(r'"?sep=(.)"?(\r\n|\n|\r)', text, re.IGNORECASE)
    return (text[found.end() :], 1, found[1]) if found else (text, 0, None)


def _header(text: str, separator: str) -> list[str]:
    for row in islice(_reader(text[:HEAD], separator, quoted=True, strict=False), 1000):
        if row:
            return [name.strip() for name in row]
    return []


def _found_separator(text: str, usual: str, wanted: Sequence[str]) -> str:
    """Detects the separator: that whose header contains the wanted columns (`usual` first), else most columns."""
    headers = {sign: _header(text, sign) for sign in (usual, *SEPARATORS)}
    for needed in (wanted, wanted[:-1]):  # the label column may be missing
        for sign, names in headers.items():
            if needed and set(needed) <= set(names):
                return sign
    return max(headers, key=lambda sign: len(headers[sign]))


def _require_separator(path: Path, text: str, separator: str, asked: str | None, wanted: Sequence[str]) -> None:
    """Refuses the option's separator if the wanted columns are in the header of another one only."""
    if asked is None or set(wanted) <= set(_header(text, asked)):
        return
    found = _found_separator(text, asked, wanted)
    if set(wanted) <= set(_header(text, found)):
        rule = f"does not separate the columns of {path}: the {SEPARATORS[found]} does"
        step = f"set data.separator: {SEPARATORS[found]}, or leave it out"
        raise TaskError("data.separator", separator, rule, step)


def _parsed(path: Path, text: str, separator: str, quoted: bool | None, usual: str) -> tuple[bool, _Rows]:
    """Parses the text; returns whether double quotes delimit fields, and the rows."""
    try:
        if quoted is None and usual == "\t":
            return _parsed_tsv(text, separator)
        return bool(quoted or quoted is None), _rows(text, separator, quoted is not False)
    except _Unreadable as error:
        step = "close or double the quote; or set data.quoted: false, if quotes are part of the texts"
        raise TaskError("data.path", str(path), f"line {error.line}: {error.rule}", step) from None


def _parsed_tsv(text: str, separator: str) -> tuple[bool, _Rows]:
    """Parses a TSV without quoting, as GLUE's files need; with quoting only if the file makes no sense otherwise."""
    plain = _rows(text, separator, quoted=False)
    if '"' not in text:
        return False, plain
    header, *others = plain.fields
    whole = all(len(row) == len(header) for row in others)
    doubled = any('""' in cell and cell[0] == cell[-1] == '"' for row in others for cell in row if len(cell) > 3)
    if whole and not doubled and not all(name[:1] == name[-1:] == '"' for name in header):
        return False, plain
    try:
        rows = _rows(text, separator, quoted=True)
    except _Unreadable:
        return False, plain
    return (True, rows) if all(len(row) == len(rows.fields[0]) for row in rows.fields) else (False, plain)


def _lines(text: str) -> io.TextIOWrapper:
    """The lines with their ends. StringIO would take four bytes per character."""
    return io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8", newline="")


def _reader(text: str, separator: str, *, quoted: bool, strict: bool = True) -> Reader:
    lines = _lines(text)
    if quoted:
        return csv.reader(lines, delimiter=separator, strict=strict)
    return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, strict=strict)


def _rows(text: str, separator: str, quoted: bool) -> _Rows:
    """Parses all rows that have a field, the header first."""
    reader = _reader(text, separator, quoted=quoted)
    found = _Rows([], [], [])
    before = 0
    try:
        for row in reader:
            if row:
                found.fields.append(row)
                found.starts.append(before + 1)
                found.ends.append(reader.line_num)
            before = reader.line_num
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise _Unreadable(before + 1, "a double quote begins a field here and is never closed") from None
        rule = "a double quote stands inside a field that begins with one, and is neither doubled nor its end"
        opened = f" (the field may have begun in line {before + 1})" if reader.line_num > before + 1 else ""
        raise _Unreadable(reader.line_num, rule + opened) from None
    return found


def _require_equal_lengths(
    path: Path, fields: list[list[str]], starts: list[int], length: int, separator: str, quoted: bool
) -> None:
    wrong = [i for i, row in enumerate(fields) if len(row) != length]
    if not wrong:
        return
    sign = SEPARATORS.get(separator, repr(separator))
    rows = f"{len(wrong)} rows have" if len(wrong) > 1 else "a row has"
    rule = (
        f"{rows} not as many fields as the {length} names in its first line (separator: {sign}); "
        f"line {starts[wrong[0]]} has {len(fields[wrong[0]])}"
        + (f", see also line {some(starts[i] for i in wrong[1:])}" if len(wrong) > 1 else "")
    )
    step = "put double quotes around a text that holds the separator" + ("" if quoted else ", with data.quoted: true")
    if all(len(row) == length + 1 for row in fields):
        step = "name the first column too (of row names), or take away the separator that ends each row"
    raise TaskError("data.path", str(path), rule, step)


def _require_none_swallowed(
    path: Path, text: str, rows: _Rows, separator: str, names: list[str], wanted: Sequence[str]
) -> None:
    """Refuses a multi-line text whose lines look like rows: the quote at its beginning was probably not closed."""
    long = [i for i, start in enumerate(rows.starts) if rows.ends[i] > start]
    if not long or wanted[-1] not in names:
        return
    place, spans = names.index(wanted[-1]), set(long)
    labels = {row[place] for i, row in enumerate(rows.fields) if i not in spans}
    lines = list(_lines(text))
    for i in long:
        for line in lines[rows.starts[i] - 1 : rows.ends[i] - 1]:
            cells = line.rstrip("\r\n").split(separator)
            if len(cells) == len(names) and cells[place].strip('"') in labels:
                rule = (
                    f"a double quote in line {rows.starts[i]} begins a text that goes on to line {rows.ends[i]} "
                    f"and holds what look like rows"
                )
                step = (
                    "close or double the quote; or set data.quoted: false if quotes are part of the texts, "
                    "true if all is as it should be"
                )
                raise TaskError("data.path", str(path), rule, step)


def _hint(names: list[str], separator: str) -> str:
    if any(NUMBER.fullmatch(name) or len(name) > LONGEST_NAME for name in names):
        return "; its first line looks like a row: the names of the columns must stand above it"
    return "" if len(names) > 1 else f"; read with the {SEPARATORS.get(separator, repr(separator))} as separator"
