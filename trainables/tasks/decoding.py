"""Decodes text files: decompresses gzip, detects the encoding by its byte-order mark, refuses what is no text."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from trainables.models.weight_files import POINTER
from trainables.tasks import TaskError

MARKS = {  # byte-order marks; UTF-32 before UTF-16, whose mark is its prefix
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_TEXT = {  # the first bytes of files whose content differs from their name
    POINTER: ("is a Git LFS pointer, not the data themselves", "run `git lfs pull` where it lies"),
    b"PK\x03\x04": ("is a ZIP archive or an Excel workbook", "unpack it, or export it as CSV (UTF-8)"),
    b"PAR1": ("is a Parquet file", "name it .parquet"),
    b"<!doctype html": ("is a web page, not data", "download the file itself (its raw form)"),
    b"<html": ("is a web page, not data", "download the file itself (its raw form)"),
}
FOREIGN_LINES = 3  # lines outside ASCII from which on being valid UTF-8 is no coincidence
LATIN = 0.3  # at most this share of letters is outside ASCII in languages of Latin script
SCRIPTS = (  # encoding, the characters that a text in it mostly consists of, and their least share
    ("cp932", "\u3040-\u30ff", 0.3),
    ("euc_kr", "\uac00-\ud7a3", 0.9),
    ("cp1251", "\u0430-\u044f", 0.75),
    ("gb18030", "\u4e00-\u9fff", 0.7),
)


class DecodedText(NamedTuple):
    """A file's text, with its line ends unchanged."""

    text: str
    encoding: str  # Python's name
    complete: bool  # false: only the beginning was read, up to the end of a line


def decode_file(path: Path, encoding: str | None, limit: int | None = None) -> DecodedText:
    """Reads and decodes a text file, which may be compressed by gzip.

    Args:
        path: of the file.
        encoding: a Python name; None: UTF-8, or what the byte-order mark indicates.
        limit: bytes to read at most; the text then ends with a complete line.

    Raises:
        TaskError: the file is no text, or not in this encoding.
        OSError: it cannot be read.
    """
    data, complete = _bytes(path, limit)
    for start, (rule, step) in NO_TEXT.items():
        if data[: len(start)].lower() == start.lower():
            raise TaskError("data.path", str(path), rule, step)
    name = encoding or next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding is not None and codecs.lookup(encoding).name == "utf-8":
        name = "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(name)().decode(data, complete)
    except UnicodeError as error:
        raise _wrong_encoding(path, data, encoding, error) from None
    if encoding is not None and len(text) == len(data):  # a byte per character
        _require_no_utf8(path, data, encoding)
    _require_no_nul(path, data, text)
    if not complete:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    return DecodedText(text, name.removesuffix("-sig"), complete)


def encoding_error(encoding: str | None) -> TaskError | None:
    """The error for an unknown encoding; None if Python knows it."""
    try:
        b"a".decode(encoding or "utf-8")
    except UnicodeError:
        return None  # one byte is not valid in it, but the encoding exists
    except LookupError:
        rule = "is no encoding that Python knows"
        return TaskError("data.encoding", encoding, rule, "write utf-8, utf-16, cp1252, latin-1, gb18030, ...")
    return None


def is_unicode(text: str) -> bool:
    """False if a text contains a lone surrogate, as JSON may: it cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(path: Path, limit: int | None) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    size = -1 if limit is None else limit + 1
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            data: bytes = stream.read(size)
    except (EOFError, zlib.error) as error:
        raise OSError(f"the compressed file is cut off or damaged: {error}") from error
    complete = limit is None or len(data) <= limit
    return data if complete else data[:limit], complete


def _wrong_encoding(path: Path, data: bytes, encoding: str | None, error: UnicodeError) -> TaskError:
    place = ""
    if isinstance(error, UnicodeDecodeError):
        line = data.count(b"\n", 0, error.start) + 1
        place = f": line {line} holds the byte 0x{data[error.start]:02x}"
    if encoding is not None:
        step = "set another data.encoding, or leave it out for UTF-8"
        return TaskError("data.encoding", encoding, f"{path} is not in this encoding{place}", step)
    likely = _likely(data)
    wrong = [line for line in data.split(b"\n") if not _is_utf8(line)]
    sample = re.sub(r"\s+", " ", wrong[0].decode(likely, "replace")).strip()[:60] if wrong else ""
    others = f", the first of {len(wrong)} such lines" if len(wrong) > 1 else ""
    rule = f"is not UTF-8{place}{others}; as {likely} it reads {sample!r}"
    step = f"set data.encoding: {likely} (or what it was saved as), or save it as UTF-8"
    return TaskError("data.path", str(path), rule, step)


def _require_no_utf8(path: Path, data: bytes, encoding: str) -> None:
    """Refuses a single-byte encoding for a file that is UTF-8: decoding would succeed with wrong characters."""
    foreign = [line for line in data[: 1 << 20].split(b"\n")[:-1] if not line.isascii()]
    if len(foreign) < FOREIGN_LINES or not all(map(_is_utf8, foreign)):
        return
    read, meant = (re.search(r"\S*[^\x00-\x7f]\S*", foreign[0].decode(name)) for name in (encoding, "utf-8"))
    shown = f": {meant.group()!r} would become {read.group()!r}" if read and meant else ""
    raise TaskError("data.encoding", encoding, f"{path} is UTF-8{shown}", "remove it")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _likely(data: bytes) -> str:
    """Guesses the encoding of a text that is not UTF-8, by its share of non-ASCII letters and their script."""
    lines = [line for line in data[: 1 << 20].split(b"\n") if not line.isascii()]
    sample = b"\n".join(lines)
    letters = re.findall(rb"[A-Za-z\x80-\xff]", sample)
    if sum(letter >= b"\x80" for letter in letters) > LATIN * len(letters):
        for name, script, least in SCRIPTS:
            try:
                foreign = re.findall(r"[^\x00-\x7f]", sample.decode(name))
            except UnicodeDecodeError:
                continue
            if len(re.findall(f"[{script}]", "".join(foreign))) >= least * len(foreign):
                return name
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _require_no_nul(path: Path, data: bytes, text: str) -> None:
    place = text.find("\0")
    if place < 0:
        return
    line = text.count("\n", 0, place) + 1
    half = len(data) // 4  # of ASCII in UTF-16, every second byte is 0
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if data[start::2].count(0) > half:
            rule = f"is {name} without a byte-order mark"
            raise TaskError("data.path", str(path), rule, f"set data.encoding: {name}")
    rule = f"holds {text.count(chr(0))} NUL bytes, the first in line {line}: it is damaged, or no text"
    raise TaskError("data.path", str(path), rule, "write it anew, or set data.encoding if it is in UTF-16 or UTF-32")
