"""Lists and mappings in a spec where one value belongs: one mistake for each, with what to write in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainables.tunables import find_tunable
from tuning.space.search_space import KINDS
from tuning.spec.shown_values import bare_form

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What pydantic adds to the path for each member of a union, such as a number or "auto".
MEMBER = re.compile(r"bool|int|float|str|literal\[.*\]|constrained-\w+")
SINGLE = ("string_type", "int_type", "float_type", "bool_type", "literal_error")  # its names for "must be one value"
HELD = ("fixed", "values")  # sections with one value for each hyperparameter
NESTED = ("model", "data")  # first parts of dotted hyperparameters
SHARDS = "as train-00000-of-00002.csv and train-00001-of-00002.csv"
FILES = f"it is one file; put several into a folder, {SHARDS}, and name the folder by data.path"
# Fields of which users give several, and what to do instead.
SEVERAL = {
    **dict.fromkeys(("data.train", "data.validation", "data.test"), FILES),
    "data.path": f"it is one folder or one file; put several files into one folder, {SHARDS}",
    "data.label": "it is one column",
    "model": "an experiment has one model; make an experiment of each, and compare them with `tunefleet compare`",
    "task": "an experiment has one task; make an experiment of each, and compare with `tunefleet compare --across`",
}


def one_of(details: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """Returns the details with one in place of those that pydantic gives for each member of a union."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for detail in details:
        loc = detail["loc"]
        if len(loc) < 2 or not MEMBER.fullmatch(str(loc[-1])):
            found[(*loc, detail["type"])] = detail
        elif (first := found.get(loc[:-1])) is None:
            found[loc[:-1]] = {**detail, "loc": loc[:-1]}
        else:
            first["msg"] += f" or {detail['msg'].removeprefix('Input should be ')}"
    return list(found.values())


def suggest_one_value(loc: Sequence[int | str], kind: str, value: object) -> tuple[str, str] | None:
    """The rule and the next step for a list or a mapping in the place of one value; None for anything else.

    Args:
        loc: where it stands, below the spec or below its strategy.
        kind: pydantic's name of the error.
        value: what stands there.
    """
    if not isinstance(value, list | Mapping) or not loc:
        return None
    name, section = str(loc[-1]), str(loc[0])
    if section == "space" and len(loc) == 2 and isinstance(value, Mapping) and _is_nested(name, value):
        return "is a mapping of several names", f"write {_flat(name, value)}"
    if kind not in SINGLE:
        return None
    rule = f"is a {'mapping' if isinstance(value, Mapping) else 'list'}, where one value belongs"
    if section in HELD and len(loc) == 2:
        return rule, _held(name, value)
    return rule, _in_its_place(name, ".".join(map(str, loc)), value)


def _is_nested(name: str, value: Mapping[str, Any]) -> bool:
    if not value or not KINDS.keys().isdisjoint(value):
        return False
    dimensions = (isinstance(inner, Mapping) and not KINDS.keys().isdisjoint(inner) for inner in value.values())
    return name in NESTED or all(find_tunable(f"{name}.{key}") for key in value) or all(dimensions)


def _flat(name: str, value: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}.{key}: {bare_form(inner)}" for key, inner in value.items())


def _held(name: str, value: list[Any] | Mapping[str, Any]) -> str:
    if isinstance(value, list):
        return f"one value is held, such as {name}: {_example(value)}; several go under space: {{choice: [...]}}"
    if not KINDS.keys().isdisjoint(value):
        return "move it to space, where values are searched"
    return f"write {_flat(name, value)}" if value else f"write {name}: VALUE"


def _in_its_place(name: str, path: str, value: list[Any] | Mapping[str, Any]) -> str:
    if name.isdecimal():  # a position in a list
        return "write one value there"
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list | Mapping):
        return f"write {name}: {bare_form(value[0])}"
    if isinstance(value, list) and path in SEVERAL:
        return SEVERAL[path]
    if isinstance(value, list) and value:
        return f"write one of them, such as {name}: {_example(value)}"
    return f"write {name}: VALUE"


def _example(value: Sequence[Any]) -> str:
    return bare_form(value[0]) if value and not isinstance(value[0], list | Mapping) else "VALUE"
