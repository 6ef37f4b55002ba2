"""Turns the suggestions of a function of a trial, and Optuna's distributions, into dimensions."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from trainables.errors import InputError
from trainables.user_trainer.suggesting_trial import Suggestion, check_suggestion, require_plain
from tuning.space.dimensions import Choice, Dimension, Fixed
from tuning.space.ranges import IntUniform, LogInt, LogUniform, Uniform


@lru_cache(maxsize=1024)  # a replay asks for the same ones again and again
def dimension_of(name: str, suggestion: Suggestion) -> Dimension:
    """Turns a suggestion into a dimension with the same values; a fixed one if there is a single value.

    Raises:
        InputError: a choice stands twice, or a bound is not usable.
    """
    check_suggestion(name, suggestion)
    if suggestion.kind == "categorical":
        return (
            built(name, Choice, choice=suggestion.choices)
            if len(suggestion.choices) > 1
            else fixed(name, suggestion.choices[0])
        )
    low, high = (
        (int(suggestion.low), int(suggestion.high)) if suggestion.kind == "int" else (suggestion.low, suggestion.high)
    )
    # In decimals, as one would write them: 0.3 - 0.1 is less than 0.2 in floating point.
    if low == high or (
        suggestion.step is not None and Decimal(repr(suggestion.step)) > Decimal(repr(high)) - Decimal(repr(low))
    ):
        return fixed(name, low)
    if suggestion.kind == "int":
        step = int(suggestion.step or 1)
        return (
            built(name, LogInt, logint=(low, high), step=step)
            if suggestion.log
            else built(name, IntUniform, int=(low, high), step=step)
        )
    if suggestion.log:
        return built(name, LogUniform, loguniform=(low, high), step=suggestion.step)
    return built(name, Uniform, uniform=(low, high), step=suggestion.step)


def built(name: str, kind: type[Dimension], **fields: Any) -> Dimension:
    """Makes a dimension of that kind.

    Raises:
        InputError: its fields do not fit.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise refused(name, next(iter(fields.values())), error) from error


def refused(name: str, value: object, error: ValidationError) -> InputError:
    """The error to raise for a dimension whose fields `error` refuses."""
    rule = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    return InputError(f"space.{name}", value, rule, "mend the range or the choices")


def fixed(name: str, value: Any) -> Dimension:
    """The dimension of a single value.

    Raises:
        InputError: it is no number, text, true, false or None.
    """
    return Fixed(fixed=require_plain(value, f"space.{name}"))


def from_optuna(name: str, raw: Any) -> Dimension:
    """Turns one of Optuna's distributions, the deprecated ones included, into a dimension.

    Raises:
        InputError: it has values that no dimension has.
    """
    if hasattr(raw, "choices"):
        choices = tuple(require_plain(choice, f"space.{name}") for choice in raw.choices)
        return dimension_of(name, Suggestion("categorical", choices=choices))
    kind = "int" if isinstance(raw.low, int) else "float"
    return dimension_of(name, Suggestion(kind, raw.low, raw.high, raw.step, raw.log))  # type: ignore[arg-type]


def hull(name: str, suggestions: list[Suggestion]) -> Suggestion:
    """The smallest suggestion with all values of `suggestions`, which a function makes for one name in its branches.

    Raises:
        InputError: they are of different kinds.
    """
    first = suggestions[0]
    if other := next((one for one in suggestions if one.kind != first.kind), None):
        rule = f"is suggested as {first} in one branch and as {other} in another"
        raise InputError("space", name, rule, "give them two names")
    if first.kind == "categorical":
        choices = {repr(choice): choice for one in suggestions for choice in one.choices}
        return Suggestion("categorical", choices=tuple(choices.values()))
    low, high = min(one.low for one in suggestions), max(one.high for one in suggestions)
    log = all(one.log for one in suggestions)
    alike = len({one.step for one in suggestions}) == 1 and all(_aligned(one, low) for one in suggestions)
    step = first.step if alike else 1.0 if first.kind == "int" else None
    return Suggestion(first.kind, low, high, step, log)


def _aligned(one: Suggestion, low: float) -> bool:
    return one.step is None or math.isclose(math.remainder(one.low - low, one.step), 0, abs_tol=one.step * 1e-9)
