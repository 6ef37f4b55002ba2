"""A trial's values as the fields of a TrainingArguments class: checked against each field's own type, never cast by it.

`Trainer.hyperparameter_search` casts by the type of the value that was there before, so that `warmup_steps` 0.1 becomes
0 and the text "false" becomes True. Here a value that does not fit is an error with its name.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from trainables.errors import InputError, close_match, nearest

# Names that older versions of transformers had, and what does the same now.
RENAMED = {
    "warmup_ratio": "write warmup_steps, which below 1 is a share of all steps",
    "group_by_length": 'write train_sampling_strategy="group_by_length"',
    "evaluation_strategy": "write eval_strategy",
    "logging_dir": "set the variable TENSORBOARD_LOGGING_DIR",
    "no_cuda": "write use_cpu",
    "per_gpu_train_batch_size": "write per_device_train_batch_size",
    "per_gpu_eval_batch_size": "write per_device_eval_batch_size",
}

PER_PROCESS_FIELDS = ("local_rank",)  # not the training's


def fields_of(arguments: Any) -> dict[str, Any]:
    """The values of all fields of a TrainingArguments object, or of a subclass, by name: what its class makes again.

    `to_dict` is no source for it: it hides tokens and turns enumerations into texts.
    """
    names = (
        field.name for field in dataclasses.fields(arguments) if field.init and field.name not in PER_PROCESS_FIELDS
    )
    return {name: getattr(arguments, name) for name in names}


def field_names(arguments_class: type) -> set[str]:
    """The names that the class takes."""
    return {field.name for field in dataclasses.fields(arguments_class) if field.init}


def matching_fields(arguments_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields among `values`, each of a type that its field has. Other names are left out.

    Raises:
        InputError: one does not fit.
    """
    types_of = _types_of(arguments_class)
    return {name: checked_value(name, value, types_of[name]) for name, value in values.items() if name in types_of}


def unread_name_error(name: str, known: Iterable[str], meant: str | None = None) -> InputError:
    """The error for a name that nothing reads.

    Args:
        known: those that could be meant.
        meant: the one of them that `name` is another word for, where that is known.
    """
    rule = "nothing reads it: it is no field of the arguments, and model_init does not ask for it"
    close = meant or close_match(name, known)
    step = f"did you mean {close}?" if close else "read it in model_init(trial), as trial.params[...], or leave it out"
    return InputError("space", name, rule, RENAMED.get(name) or step)


def checked_value(name: str, value: Any, kinds: frozenset[type]) -> Any:
    """`value`, if it is of one of the types; for a field of whole numbers a float that is one becomes an int.

    Raises:
        InputError: it is of another type.
    """
    if hasattr(value, "item") and hasattr(value, "dtype"):  # of NumPy
        value = value.item()
    if not kinds or value is None:
        return value
    if isinstance(value, Enum | str) and (named := [kind for kind in kinds if issubclass(kind, Enum)]):
        return _named(name, value, named)
    if isinstance(value, tuple(kinds)) and not (isinstance(value, bool) and bool not in kinds):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if float in kinds:
            return value
        if int in kinds and float(value).is_integer():
            return int(value)
    raise InputError(f"space.{name}", value, f"must be {_in_words(kinds)}", _step(value, kinds))


def _named(name: str, value: Enum | str, kinds: list[type[Enum]]) -> Enum | str:
    """A value of a field whose values have names: an optimizer, a schedule. Fields of transformers take no others."""
    if isinstance(value, Enum) or not all(kind.__module__.startswith("transformers.") for kind in kinds):
        return value
    known = [str(member.value) for kind in kinds for member in kind]
    if value not in known:
        raise InputError(f"space.{name}", value, "is none of those that transformers has", nearest(value, known))
    return value


def _step(value: Any, kinds: frozenset[type]) -> str:
    if isinstance(value, float) and int in kinds:
        return "draw whole numbers: suggest_int, tune.randint or a choice"
    if bool in kinds and isinstance(value, str | int):
        return "write True or False, without quotation marks"
    if isinstance(value, str):
        return "write it without quotation marks"
    return "change the space"


def _in_words(kinds: frozenset[type]) -> str:
    words = {float: "a number", int: "a whole number", bool: "True or False", str: "a text"}
    if float in kinds:
        kinds = kinds - {int}
    return " or ".join(sorted({words.get(kind, kind.__name__) for kind in kinds - {types.NoneType}}))


@functools.cache
def _types_of(arguments_class: type) -> dict[str, frozenset[type]]:
    """The plain types of each field; none: any value is taken."""
    try:
        hints = typing.get_type_hints(arguments_class)
    except (NameError, TypeError):  # a field of the user's own with a type that only a checker knows
        hints = {}
    return {name: frozenset(_kinds(hints.get(name, Any))) for name in field_names(arguments_class)}


def _kinds(hint: Any) -> set[type]:
    if hint is Any:
        return set()
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [_kinds(part) for part in parts]
        return set().union(*found) if all(found) else set()
    if origin is typing.Literal:
        return {type(part) for part in parts}
    if isinstance(origin or hint, type):
        return {origin or hint}
    return set()
