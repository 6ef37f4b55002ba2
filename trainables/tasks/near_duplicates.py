"""Counts rows whose text equals one of another split but for case, punctuation and white space."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from functools import cache

from trainables.tasks.splits import LabelledRows


def near_duplicates(splits: Mapping[str, LabelledRows]) -> dict[str, int]:
    """Counts near duplicates by split: rows of test that are in train or validation, rows of validation in train.

    Splits without any are left out. Exact duplicates were removed before (`splits.deduplicate`).
    """
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
    """`text` without case, punctuation and white space; if nothing remains, `text` itself."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_left_out()) or text


@cache
def _left_out() -> dict[int, None]:
    """A table for `str.translate` that removes Unicode's punctuation, separators and control characters."""
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in "PZC"}
