"""CSV and its relatives: rows of fields between separators, with or without double quotes around a field.

What the options leave open is found in the file and told: the separator by the header in which the wanted columns
stand, and in a TSV, whether double quotes belong to the file or to the texts. Of quotes only what cannot be misread is
accepted (RFC 4180): an unclosed one would swallow the rows that follow.
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
HEAD = 1 << 20  # characters among which the header is looked for
LONGEST_NAME = 60  # characters; a longer field of the first line is a text


class _Rows(NamedTuple):
    fields: list[list[str]]
    starts: list[int]  # the line where each row begins
    ends: list[int]


class _Unreadable(Exception):
    """The quotes do not add up."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(line, rule)
        self.line, self.rule = line, rule


def separator_error(separator: str | None) -> TaskError | None:
    """The error for a separator that is no single character; None if it is one."""
    if separator is None or (len(separator_of(separator)) == 1 and separator_of(separator) not in '"\r\n'):
        return None
    return TaskError("data.separator", separator, "is no single character", "write comma, semicolon, tab or pipe")


def separator_of(word: str) -> str:
    """The character that `word` means: `tab`, `\\t` and a tab itself are the same."""
    return {**{name: sign for sign, name in SEPARATORS.items()}, "\\t": "\t"}.get(word, word)


def read_delimited(path: Path, content: DecodedText, usual: str, options: DataSpec, wanted: Sequence[str]) -> RawTable:
    """The `wanted` columns. Cells are texts, an empty one is None.

    Args:
        usual: the separator that the file's name promises.
        wanted: the text columns, then the label's.

    Raises:
        TaskError: the separator is not the file's, the quotes do not add up, or rows have too many or too few fields.
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
    """Python's own limit of 128 KiB per field is lifted for a while: a text may be a book."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _without_sep_line(text: str) -> tuple[str, int, str | None]:
    """Excel's own first line, `sep=;`: the text without it, the lines that it took, and the separator it declares."""
    found = re.match(r'"?sep=(.)"?(\r\n|\n|\r)', text, re.IGNORECASE)
    return (text[found.end() :], 1, found[1]) if found else (text, 0, None)


def _header(text: str, separator: str) -> list[str]:
    for row in islice(_reader(text[:HEAD], separator, quoted=True, strict=False), 1000):
        if row:
            return [name.strip() for name in row]
    return []


def _found_separator(text: str, usual: str, wanted: Sequence[str]) -> str:
    """The usual one if the wanted columns stand in the header it makes, else another for which they do, else the one
    that makes the most columns."""
    headers = {sign: _header(text, sign) for sign in (usual, *SEPARATORS)}
    for needed in (wanted, wanted[:-1]):  # the label may be hidden
        for sign, names in headers.items():
            if needed and set(needed) <= set(names):
                return sign
    return max(headers, key=lambda sign: len(headers[sign]))


def _require_separator(path: Path, text: str, separator: str, asked: str | None, wanted: Sequence[str]) -> None:
    """Refuse a separator that was asked for, if another one makes the header and it does not."""
    if asked is None or set(wanted) <= set(_header(text, asked)):
        return
    found = _found_separator(text, asked, wanted)
    if set(wanted) <= set(_header(text, found)):
        rule = f"does not separate the columns of {path}: the {SEPARATORS[found]} does"
        step = f"set data.separator: {SEPARATORS[found]}, or leave it out"
        raise TaskError("data.separator", separator, rule, step)


def _parsed(path: Path, text: str, separator: str, quoted: bool | None, usual: str) -> tuple[bool, _Rows]:
    """The rows, and whether double quotes were read as the file's own."""
    try:
        if quoted is None and usual == "\t":
            return _parsed_tsv(text, separator)
        return bool(quoted or quoted is None), _rows(text, separator, quoted is not False)
    except _Unreadable as error:
        step = "close or double the quote; or set data.quoted: false, if quotes are part of the texts"
        raise TaskError("data.path", str(path), f"line {error.line}: {error.rule}", step) from None


def _parsed_tsv(text: str, separator: str) -> tuple[bool, _Rows]:
    """Reads without quoting, as GLUE has it; with it only where no other reading makes sense of the file."""
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
    """The lines, with their ends as they are. StringIO would hold the text at four bytes per character."""
    return io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8", newline="")


def _reader(text: str, separator: str, *, quoted: bool, strict: bool = True) -> Reader:
    lines = _lines(text)
    if quoted:
        return csv.reader(lines, delimiter=separator, strict=strict)
    return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, strict=strict)


def _rows(text: str, separator: str, quoted: bool) -> _Rows:
    """All rows with a field, the header first."""
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
    """No text over several lines may hold lines that are rows themselves: a quote at its beginning was not closed."""
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
