"""Which rows of the public splits can be used: those with a text, in splits whose labels are not withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.decoding import is_unicode
from trainables.tasks.sources import RawSplit

# Why a text cannot be used, and what to do about it.
EMPTY = ("no text", "fill it in, remove the row, or set data.drop_empty: true")
NO_TEXT = ("something else than a text", "write it as a text, remove the row, or choose another column")
HALF = ("half a character (a lone surrogate)", "write it anew: a text was cut in the middle of a character")


def with_labels(splits: Mapping[str, RawSplit]) -> dict[str, RawSplit]:
    """The splits that can be scored. Where the test labels are hidden, the public validation split is the test."""
    shown = {name: split for name, split in splits.items() if not is_hidden(name, split)}
    if "test" in splits and "test" not in shown and "validation" in shown:
        shown["test"] = shown.pop("validation")
    return shown


def is_hidden(name: str, split: RawSplit) -> bool:
    """No label column, or nothing but nulls; or, where it is not for training, nothing but -1, the public data sets'
    sign for a label that is withheld."""
    if split.labels is None or all(label is None for label in split.labels):
        return True
    return name != "train" and all(label is None or str(label) in ("-1", "-1.0") for label in split.labels)


def with_texts(splits: Mapping[str, RawSplit], options: DataSpec) -> tuple[dict[str, RawSplit], int, list[TaskError]]:
    """The rows with a text (of a pair, with one at least, and no cell that is null), the number of those without that
    `options.drop_empty` allows for, and an error for the others of each split."""
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
    """The rows of each kind that cannot be used; the kind is what is wrong and what to do."""
    flat = list(chain.from_iterable(texts))
    if (
        set(map(type, flat)) == {str}
        and "" not in flat
        and not any(map(str.isspace, flat))
        and is_unicode("".join(flat))
    ):
        return {}  # which is seen faster at all of them than one by one
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
