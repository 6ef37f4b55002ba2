"""Groups of rows that must not be divided between splits, such as rows of one document or author (`data.group`).

In: the cells of the group column. Out: group names as texts, and the number of groups that occur in two splits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainables.tasks import TaskError
from trainables.tasks.sources import RawSplit
from trainables.tasks.splits import LabelledRows


def with_groups(splits: Mapping[str, RawSplit]) -> tuple[dict[str, RawSplit], list[TaskError]]:
    """Returns the rows that have a group, with its name as a text, and an error for each split with other rows."""
    named, errors = {}, []
    for name, split in splits.items():
        if split.groups is None:
            named[name] = split
            continue
        names = [_name(cell) for cell in split.groups]
        if nameless := [i for i, group in enumerate(names) if group is None]:
            many = f"{len(nameless)} rows have" if len(nameless) > 1 else "a row has"
            rule = f"{many} no group, a text or a whole number: {split.places(nameless)}"
            step = "fill it in (a name of its own, where a row stands for itself), or remove the row"
            errors.append(TaskError("data.group", split.groups[nameless[0]], rule, step))
        usable = [i for i, group in enumerate(names) if group is not None]
        named[name] = split._replace(groups=names).take(usable)
    return named, errors


def _name(cell: Any) -> str | None:
    """The group's name; whole numbers are written alike whatever the format (1, and 1.0 of a float column)."""
    if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    if isinstance(cell, str):
        return cell if cell.strip() else None
    return str(cell) if isinstance(cell, int) else None


def shared_groups(splits: Mapping[str, LabelledRows]) -> dict[str, Any]:
    """The fields of a `DataSummary` about groups; empty without a group column."""
    groups = {name: set(rows.groups or ()) for name, rows in splits.items()}
    if not any(groups.values()):
        return {}
    every = [group for inside in groups.values() for group in inside]
    shared = {
        name: sum(group in groups["train"] for group in splits[name].groups or ()) for name in ("validation", "test")
    }
    return {
        "groups": len(set(every)),
        "shared_groups": len(every) - len(set(every)) - len(set.intersection(*groups.values())),
        "shared_rows": {name: rows for name, rows in shared.items() if rows},
    }
