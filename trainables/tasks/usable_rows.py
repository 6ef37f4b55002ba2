"""Selects the usable rows of published splits: those with a text, in splits whose labels are not withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.decoding import is_unicode
from trainables.tasks.sources import RawSplit

# Reasons why a text cannot be used, with the next step.
EMPTY = ("no text", "fill it in, remove the row, or set data.drop_empty: true")
NO_TEXT = ("something else than a text", "write it as a text, remove the row, or choose another column")
HALF = ("half a character (a lone surrogate)", "write it anew: a text was cut in the middle of a character")


def with_labels(splits: Mapping[str, RawSplit]) -> dict[str, RawSplit]:
    """The splits with labels; if test labels are withheld, the published validation split becomes the test split."""
    shown = {name: split for name, split in splits.items() if not is_hidden(name, split)}
    if "test" in splits and "test" not in shown and "validation" in shown:
        shown["test"] = shown.pop("validation")
    return shown


def is_hidden(name: str, split: RawSplit) -> bool:
    """True if a split has no labels: no column, only nulls, or (outside of train) only -1, which means withheld."""
    if split.labels is None or all(label is None for label in split.labels):
        return True
    return name != "train" and all(label is None or str(label) in ("-1", "-1.0") for label in split.labels)


def with_texts(splits: Mapping[str, RawSplit], options: DataSpec) -> tuple[dict[str, RawSplit], int, list[TaskError]]:
    """Selects the rows with a text; a pair needs one non-empty text and no null.

    Returns:
        The splits with these rows, the number of rows that `options.drop_empty` left out, and errors about the others.
    """
    kept, dropped, errors = {}, 0, []
    for name, split in splits.items():
        rows_of = _unusable_texts(split.texts)
        left_out = set(chain.from_iterable(rows_of.values()))
        if options.drop_empty:
            dropped += len(rows_of.pop(EMPTY, ()))
        for (what, step), rows in rows_of.items():
            cells = split.texts[rows[0]]
            value = next((cell for cell in cells if cell is not None and not isinstance(cell, str)), None)
            many = f"{len(rows)} rows have" if len(rows) > 1 else "a row has"
            errors.append(TaskError("data.text", value, f"{many} {what}: {split.places(rows)}", step))
        kept[name] = split.take([i for i in range(len(split.texts)) if i not in left_out]) if left_out else split
    return kept, dropped, errors


def _unusable_texts(texts: Sequence[tuple[Any, ...]]) -> dict[tuple[str, str], list[int]]:
    """The rows that cannot be used, by reason and next step."""
    flat = list(chain.from_iterable(texts))
    if (
        set(map(type, flat)) == {str}
        and "" not in flat
        and not any(map(str.isspace, flat))
        and is_unicode("".join(flat))
    ):
        return {}  # checking all cells at once is faster than one by one
    found: dict[tuple[str, str], list[int]] = {}
    for i, cells in enumerate(texts):
        if not all(isinstance(cell, str) for cell in cells):
            others = any(cell is not None and not isinstance(cell, str) for cell in cells)
            found.setdefault(NO_TEXT if others else EMPTY, []).append(i)
        elif all(not cell or cell.isspace() for cell in cells):
            found.setdefault(EMPTY, []).append(i)
    if not found.get(NO_TEXT) and not is_unicode("".join(cell or "" for cells in texts for cell in cells)):
        found[HALF] = [i for i, cells in enumerate(texts) if not all(is_unicode(cell or "") for cell in cells)]
    return found
