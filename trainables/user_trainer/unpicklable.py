"""Finds the part of an object that cannot be pickled, and its path: "trainer.compute_metrics closes over `lock`"."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

DEEPEST = 20  # steps from the object to the part
LONGEST = 60  # characters of a value in a message


class Culprit(NamedTuple):
    """The innermost part that cannot be pickled."""

    path: str  # in words, from the object that was to be pickled
    shown: str  # the part's repr, shortened
    reason: str  # the error of pickling it


def find_culprit(obj: object, name: str, pickled: Callable[[object], object], sought: object = None) -> Culprit:
    """Finds the innermost part of `obj` that cannot be pickled; `obj` itself if all its parts can.

    Args:
        obj: the object.
        name: of `obj`, with which the path begins.
        pickled: pickles an object, or raises an error.
        sought: the part itself, where it is known and its path is not: what it holds is not looked at.
    """
    seen: set[int] = set()
    path, part, reason = name, obj, _refusal(obj, pickled) or "its pickle is refused"
    for _ in range(DEEPEST):
        if part is sought:
            break
        seen.add(id(part))
        for step, child in _parts(part):
            if id(child) not in seen and (refused := _refusal(child, pickled)) is not None:
                path, part, reason = f"{path}{step}", child, refused
                break
        else:
            break
    text = repr(part)
    return Culprit(path, text if len(text) <= LONGEST else f"{text[:LONGEST]}...", reason)


def _refusal(obj: object, pickled: Callable[[object], object]) -> str | None:
    try:
        pickled(obj)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _parts(obj: Any) -> Iterator[tuple[str, object]]:
    """Yields the parts of an object that its pickle contains, each with the words that lead to it."""
    if isinstance(obj, types.MethodType):
        yield " is a method of an object", obj.__self__
        yield from _parts(obj.__func__)
    elif isinstance(obj, functools.partial):
        yield ".func", obj.func
        yield from ((f" is given {value!r:.{LONGEST}}", value) for value in obj.args)
        yield from ((f" is given `{key}`", value) for key, value in obj.keywords.items())
    elif isinstance(obj, types.FunctionType):
        yield from _of_function(obj)
    elif isinstance(obj, type):
        yield from ((f".{key}", value) for key, value in vars(obj).items() if callable(value) or key[:2] != "__")
    elif isinstance(obj, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in obj.items())
    elif isinstance(obj, list | tuple | set | frozenset):
        yield from ((f"[{place}]", value) for place, value in enumerate(obj))
    else:
        yield from ((f".{key}", value) for key, value in _state(obj).items())
        yield f" is of the class {type(obj).__name__}; {type(obj).__name__}", type(obj)


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    found = inspect.getclosurevars(function)
    yield from ((f" closes over `{key}`", value) for key, value in found.nonlocals.items())
    yield from ((f" uses the global `{key}`", value) for key, value in found.globals.items())
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            yield f" has the default `{parameter.name}`", parameter.default


def _state(obj: object) -> Mapping[str, object]:
    try:
        return vars(obj)
    except TypeError:
        return {}
