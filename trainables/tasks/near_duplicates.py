"""Rows whose texts differ from those of another split in case, punctuation or white space alone."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from functools import cache

from trainables.tasks.splits import LabelledRows


def near_duplicates(splits: Mapping[str, LabelledRows]) -> dict[str, int]:
    """By split, where there are any: the rows of test whose like stands in train or validation, and of validation
    whose like stands in train. No text stands in two splits letter by letter (`splits.distinct`)."""
    keys = {name: [_key(text) for text in rows.texts] for name, rows in splits.items()}
    train = set(keys["train"])
    searched = train | set(keys["validation"])
    found = {
        "validation": sum(key in train for key in keys["validation"]),
        "test": sum(key in searched for key in keys["test"]),
    }
    return {name: rows for name, rows in found.items() if rows}


def _key(text: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_plain, text))


def _plain(text: str) -> str:
    """`text` without case, punctuation and white space; of nothing but those, `text` itself."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_left_out()) or text


@cache
def _left_out() -> dict[int, None]:
    """Punctuation, blanks and control characters of Unicode, for `str.translate`."""
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in "PZC"}
