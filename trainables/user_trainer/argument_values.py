"""Checks a trial's values against the field types of a TrainingArguments class.

`Trainer.hyperparameter_search` casts a value to the type of the field's previous value, so that `warmup_steps` 0.1
becomes 0 and the text "false" becomes True. Here a value of another type is an error that names the field.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from trainables.errors import InputError, close_match, nearest

# Fields of older versions of transformers, and their replacement.
RENAMED = {
    "warmup_ratio": "write warmup_steps, which below 1 is a share of all steps",
    "group_by_length": 'write train_sampling_strategy="group_by_length"',
    "evaluation_strategy": "write eval_strategy",
    "logging_dir": "set the variable TENSORBOARD_LOGGING_DIR",
    "no_cuda": "write use_cpu",
    "per_gpu_train_batch_size": "write per_device_train_batch_size",
    "per_gpu_eval_batch_size": "write per_device_eval_batch_size",
}

PER_PROCESS_FIELDS = ("local_rank",)  # not part of the training's configuration
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
SECRETS = ("hub_token",)  # never written to a file: a trial pushes nothing


def fields_of(arguments: Any) -> dict[str, Any]:
    """The values of a TrainingArguments object by the names of `field_names`, from which its class can build it again.

    `to_dict` cannot be used: it masks every name that ends with `_token` and converts enumerations to texts.
    """
    names = field_names(type(arguments)) - set(PER_PROCESS_FIELDS)
    return {name: getattr(arguments, name) for name in sorted(names) if hasattr(arguments, name)}


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of arguments by name, with None for each secret."""
    return {name: None if name in SECRETS else value for name, value in values.items()}


def field_names(arguments_class: type) -> set[str]:
    """The names of the fields, and of the other parameters of a constructor of the user's own."""
    return dataclass_fields(arguments_class) | set(parameters_of(arguments_class))


def dataclass_fields(arguments_class: type) -> set[str]:
    """The names of the fields that a dataclass takes."""
    return {field.name for field in dataclasses.fields(arguments_class) if field.init}


def parameters_of(kind: type) -> dict[str, inspect.Parameter]:
    """The parameters that a constructor takes; where it hands on `**kwargs`, those of its parents, too."""
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind not in VARIADIC:
                found.setdefault(parameter.name, parameter)
        if not any(parameter.kind in VARIADIC for parameter in parameters):
            break
    return found


def matching_fields(arguments_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Selects the values whose names are fields of the class, and checks their types.

    Raises:
        InputError: a value is not of its field's type.
    """
    types_of = _types_of(arguments_class)
    return {name: checked_value(name, value, types_of[name]) for name, value in values.items() if name in types_of}


def unread_name_error(name: str, known: Iterable[str], meant: str | None = None) -> InputError:
    """The error for a hyperparameter that nothing reads.

    Args:
        name: of the hyperparameter.
        known: the names that could be meant.
        meant: the one of them that `name` is a synonym of, if known.
    """
    rule = "nothing reads it: it is no field of the arguments, and model_init does not read it"
    close = meant or close_match(name, known)
    step = f"did you mean {close}?" if close else "read it in model_init(trial), as trial.params[...], or leave it out"
    return InputError("space", name, rule, RENAMED.get(name) or step)


def checked_value(name: str, value: Any, kinds: frozenset[type]) -> Any:
    """Returns `value` if it is of one of the types; for an int field, a whole float is converted.

    Args:
        name: of the field, for the error.
        value: to be checked; NumPy scalars are converted.
        kinds: the field's types; empty: any.

    Raises:
        InputError: the value is of another type.
    """
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a NumPy scalar
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
    """Checks a value of an enumeration field, such as optimizer or schedule; others than transformers' take any."""
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
    """The types of each field; empty: any value is allowed."""
    try:
        hints = typing.get_type_hints(arguments_class)
    except (NameError, TypeError):  # a subclass's field has a type that cannot be resolved at run time
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
