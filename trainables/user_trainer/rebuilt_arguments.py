"""Takes apart what a TrainingArguments object has besides fields, and builds it again with a trial's values.

A class of the user's own may take more than fields (`__init__(self, *args, alpha=0.5, **kwargs)`), compute some in its
constructor, or scripts set attributes afterwards. What the constructor computes again is left to it.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import cloudpickle

from trainables.errors import InputError
from trainables.user_trainer.argument_values import dataclass_fields, field_names, parameters_of
from trainables.user_trainer.originals import construct

OF_TRIALS = ("output_dir", "seed")  # `construction.trainer_construction` sets them
PLAIN = (bool, int, float, str, Enum, type(None))
STEP = "pass a factory instead, `def make_trainer(params)`, that makes the arguments, too"


def attributes_beside_fields(arguments: Any) -> dict[str, Any]:
    """The attributes of a TrainingArguments object that are no fields, and that transformers has not set itself.

    Raises:
        InputError: its constructor takes a value that no attribute shows.
    """
    kind = type(arguments)
    for name in sorted(parameters_of(kind).keys() - dataclass_fields(kind) - vars(arguments).keys()):
        rule = f"the constructor of {kind.__name__} takes it, and the instance has no attribute of that name"
        raise InputError(f"args.{name}", kind.__name__, rule, f"keep it (`self.{name} = {name}`); or {STEP}")
    theirs = [base for base in kind.__mro__ if not _is_users(base)]
    known = field_names(kind) | {
        field.name for base in theirs if dataclasses.is_dataclass(base) for field in dataclasses.fields(base)
    }
    known |= {name for base in theirs for method in vars(base).values() for name in assigned_names(method)}
    return {
        name: value
        for name, value in vars(arguments).items()
        if name not in known and not isinstance(inspect.getattr_static(kind, name, None), functools.cached_property)
    }


def build_arguments(
    kind: type, fields: Mapping[str, Any], attributes: Mapping[str, Any], values: Mapping[str, Any], place: Any
) -> Any:
    """Builds arguments of a class.

    Args:
        kind: the class.
        fields: as `argument_values.fields_of` returned them.
        attributes: as `attributes_beside_fields` returned them.
        values: of the trial, each for a field or for one of the attributes.
        place: see `originals.construct`.

    Raises:
        InputError: the constructor keeps a value otherwise than it was given.
    """
    taken = parameters_of(kind)
    again = None  # as the constructor makes it without a trial's values
    if attributes or any(map(_is_users, kind.__mro__)):
        again = kind(**{name: value for name, value in fields.items() if name in taken})
    made = construct(kind, place, {name: value for name, value in {**fields, **values}.items() if name in taken})
    if again is None:
        return made
    own = taken.keys() - dataclass_fields(kind)
    for name, value in {**fields, **attributes}.items():
        same = name in OF_TRIALS or (hasattr(again, name) and _equal(getattr(again, name), value))
        if name in own and not same:
            kept = getattr(again, name, None)
            rule = f"{kind.__name__} keeps {kept!r} where it is given this, so the instance does not tell it"
            raise InputError(f"args.{name}", value, rule, STEP)
        if name in values:
            if name not in taken:
                setattr(made, name, values[name])
        elif not same and (name in attributes or isinstance(value, PLAIN)):
            setattr(made, name, value)
    return made


def assigned_names(method: Any) -> Iterator[str]:
    """The names of attributes that a function, a property or a method assigns."""
    for wrapper in ("__wrapped__", "fget", "func", "__func__"):
        method = getattr(method, wrapper, method)
    if (code := getattr(method, "__code__", None)) is None:
        return
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_ATTR":
            yield instruction.argval


def _is_users(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in ("builtins", "transformers")


def _equal(one: Any, other: Any) -> bool:
    try:
        if one is other or bool(one == other):
            return True
    except (TypeError, ValueError, RuntimeError):  # an array or a tensor has no one answer
        pass
    return bool(cloudpickle.dumps(one) == cloudpickle.dumps(other))
