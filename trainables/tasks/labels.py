"""Normalises class labels to text, so that a class has the same name in every file format.

Whole numbers are written alike (1, and 1.0 of a float column). Texts are unchanged: `01` is not `1`. If all labels are
plain whole numbers, classes are sorted by value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from trainables.tasks import TaskError
from trainables.tasks.decoding import is_unicode
from trainables.tasks.sources import RawSplit

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,99}")
WHOLE_FLOAT = re.compile(r"(0|-?[1-9][0-9]{0,99})\.0+")  # as a float column is written into a CSV
FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
MANY = 20  # more distinct fractional numbers than this are not classes

REMEDY = "use whole numbers or texts for classes; numbers to predict are task=text_regression"


class _Unusable(str):
    """The reason why a label cannot be used."""


def plain_labels(splits: Mapping[str, RawSplit]) -> tuple[dict[str, list[str | None]], list[TaskError]]:
    """Normalises the labels of each split to text; None if a label cannot be used, with an error for each kind."""
    plain, errors = {}, []
    for name, split in splits.items():
        plain[name], found = _plain(split)
        errors += found
    values = {label for labels in plain.values() for label in set(labels) if label is not None}
    if values and all(map(WHOLE_FLOAT.fullmatch, values)):
        plain = {name: [label and label.partition(".")[0] for label in labels] for name, labels in plain.items()}
    elif len(values) > MANY and all(map(FLOAT.fullmatch, values)) and not all(map(WHOLE.fullmatch, values)):
        first = next(label for label in plain["train"] if label is not None)
        rule = f"one of {len(values)} distinct numbers with fractions: these are no classes"
        errors.append(TaskError("data.label", first, rule, "set task=text_regression, or choose another column"))
    return plain, errors


def sorted_classes(labels: Iterable[str]) -> list[str]:
    """The distinct labels, sorted by value if all are whole numbers, else by code point."""
    distinct = set(labels)
    return sorted(distinct, key=int) if all(map(WHOLE.fullmatch, distinct)) else sorted(distinct)


def _plain(split: RawSplit) -> tuple[list[str | None], list[TaskError]]:
    labels = split.labels or []
    try:
        meaning = {key: _meaning(key[1]) for key in set(zip(map(type, labels), labels, strict=True))}
        found = [meaning[key] for key in zip(map(type, labels), labels, strict=True)]
    except TypeError:  # a label is a list or an object, which cannot be hashed
        found = [_meaning(label) for label in labels]
    rows_of: dict[str | None, list[int]] = {}
    for row, label in enumerate(found):
        if label is None or isinstance(label, _Unusable):
            rows_of.setdefault(label, []).append(row)
    errors = []
    for why, rows in rows_of.items():
        many = f"{len(rows)} rows have" if len(rows) > 1 else "a row has"
        if why is None:
            rule, step = f"{many} no label: {split.places(rows)}", "fill it in or remove the row"
        else:
            rule, step = f"{many} what {why}: {split.places(rows)}", REMEDY
        errors.append(TaskError("data.label", labels[rows[0]], rule, step))
    return [None if isinstance(label, _Unusable) else label for label in found], errors


def _meaning(label: Any) -> str | _Unusable | None:
    """The class name of a label; None if it is missing."""
    if label is None or label != label or (isinstance(label, str) and not label.strip()):
        return None
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float | Decimal):
        return str(int(label)) if math.isfinite(label) and label == int(label) else _Unusable("is no class id")
    if isinstance(label, int):
        return str(label)
    return label if isinstance(label, str) and is_unicode(label) else _Unusable("is no class id or text")
