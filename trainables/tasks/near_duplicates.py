"""Counts rows whose text equals one of another split but for case, punctuation and white space."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

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
    return unicodedata.normalize("NFKC", text).casefold().translate(_TABLE) or text


class _TranslationTable(dict[int, int | None]):
    """Removes Unicode's punctuation, separators and control characters, as a table for `str.translate`.

    A character is looked up when a text first has it: to go through all of Unicode would take a seventh of a second
    in each process that reads data.
    """

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code))[0] in "PZC" else code
        return self[code]


_TABLE = _TranslationTable()
