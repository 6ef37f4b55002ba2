"""Checks of the arguments of Python functions: a wrong one raises `InputError` with name, value, rule and next step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainables.errors import InputError
from trainables.spec import whole_seed

LONGEST = 80  # characters of a value in a message


def check_experiment(given: object) -> str:
    """Return `given` as the name, path or URI of an experiment that was run.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(given, str | Path) and str(given).strip():
        return str(given)
    step = 'give a name such as "quickstart", the path of a run folder, or what tunefleet.run returned'
    raise InputError("experiment", shortened(given), f"{type_name(given)} names no experiment", step)


def check_score(name: str, given: object) -> float:
    """Return `given` as a finite number.

    Raises:
        InputError: it is none.
    """
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return float(given)
    raise InputError(name, shortened(given), "must be a finite number", "such as 0.9")


def check_positive(name: str, given: object) -> float:
    """Return `given` as a finite number above 0.

    Raises:
        InputError: it is none.
    """
    number = check_score(name, given)
    if number <= 0:
        raise InputError(name, given, "must be above 0", "such as 2.1")
    return number


def check_seed(name: str, given: object) -> int:
    """Return `given` as a seed.

    Raises:
        InputError: it is none.
    """
    try:
        return whole_seed(given)
    except ValueError as error:
        raise InputError(name, shortened(given), str(error), "such as 0") from error


def type_name(given: object) -> str:
    """The type of `given` in words: 'a list', 'an int', 'None'."""
    if given is None:
        return "None"
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def shortened(given: object) -> object:
    """`given`, or the beginning of its text where that is long."""
    text = repr(given)
    return given if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def check_spec_source(given: object) -> str | Path | Mapping[str, Any]:
    """Return `given` as the source of a spec: a path, the name of a preset, or a mapping.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(given, Mapping) or (isinstance(given, str | Path) and str(given).strip()):
        return given
    step = 'give a YAML file or a preset such as "quickstart", a dictionary, or an ExperimentSpec'
    raise InputError("spec", shortened(given), f"{type_name(given)} is no spec of an experiment", step)


def override_texts(given: object) -> list[str]:
    """Return the overrides as texts `key=value`, from such texts, one of them, or a mapping.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return [f"{key}={_as_yaml(key, value)}" for key, value in given.items()]
    if isinstance(given, Iterable):
        texts = list(given)
        if all(isinstance(text, str) for text in texts):
            return texts
    step = 'write {"epochs": 2} or ["epochs=2"]'
    raise InputError("overrides", shortened(given), "must be a dictionary, or texts such as 'epochs=2'", step)


def _as_yaml(key: object, value: object) -> str:
    """JSON, which is YAML as well, on one line."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        step = "give numbers, texts, true, false, None, lists or dictionaries of them"
        raise InputError(f"overrides[{key!r}]", shortened(value), "cannot be written into a spec", step) from error
