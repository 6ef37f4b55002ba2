"""Mistakes in a spec, reported all at once: path as the user typed it, value, rule, next step."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ValidationError

from tuning.spec.known_names import section, suggest_key
from tuning.spec.one_value import one_of, suggest_one_value
from tuning.spec.short_forms import suggest_form
from tuning.spec.shown_values import short_form
from tuning.strategies import Strategy

OWN = "own"  # key of pydantic's validation context: the trainable is the user's own
NO_VALUE = object()  # the mistake is about a key, or about something that is not there


@dataclass(frozen=True)
class Mistake:
    """One mistake in a spec; `path` is dotted, with list positions: `strategies.0.trials`."""

    path: str
    rule: str
    value: object = NO_VALUE
    next_step: str = ""

    def __str__(self) -> str:
        shown = "" if self.value is NO_VALUE else f" {short_form(self.value)}:"
        step = f"; {self.next_step}" if self.next_step else ""
        return f"{self.path}:{shown} {self.rule}{step}"

    def below(self, prefix: str) -> Mistake:
        """This mistake, with `prefix` before its path."""
        return replace(self, path=join_path(prefix, self.path))


class SpecError(ValueError):
    """A spec cannot be run; `mistakes` holds all reasons."""

    def __init__(self, mistakes: Iterable[Mistake], source: str = "") -> None:
        self.mistakes = tuple(mistakes)
        self.source = source
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        heading = f"{count} in {source}:" if source else f"{count}:"
        super().__init__("\n".join([heading, *(f"  {mistake}" for mistake in self.mistakes)]))


def join_path(*parts: object) -> str:
    """Joins parts to a dotted path; empty parts are left out."""
    return ".".join(str(part) for part in parts if part != "")


def mistakes_of(
    error: ValidationError,
    model: type[BaseModel],
    prefix: str = "",
    *,
    root: type[BaseModel] | None = None,
    own: bool = False,
) -> list[Mistake]:
    """Turns an `error` of `model.model_validate` into mistakes in the user's terms.

    Args:
        prefix: the dotted path of what was validated.
        root: the model of the whole spec, whose keys a wrong one may belong to; default: `model`.
        own: the trainable is the user's own.

    A validator may itself raise a SpecError (a plug-in reads its own part): its mistakes stand below that part's path.
    """
    found: list[Mistake] = []
    details = one_of(error.errors(include_url=False))
    for detail in details:
        if detail["type"] == "too_short" and any(_inside(other["loc"], detail["loc"]) for other in details):
            continue  # too short only because its wrong entries were left out
        path = join_path(prefix, *detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, SpecError):
            found += (mistake.below(path) for mistake in cause.mistakes)
        elif detail["type"] == "missing":
            found.append(Mistake(path, "is missing", next_step="add it"))
        elif detail["type"] == "extra_forbidden":
            known = _keys_at(model, detail["loc"][:-1])
            section_path = join_path("strategies.N" if issubclass(model, Strategy) else "", *detail["loc"][:-1])
            step = suggest_key(str(detail["loc"][-1]), known, root or model, inside=section_path, own=own)
            found.append(Mistake(path, "unknown key", next_step=step))
        else:
            form = suggest_one_value(detail["loc"], detail["type"], detail["input"])
            form = form or suggest_form(detail["loc"], detail["type"], detail["input"], model)
            rule, step = form or (_rule(detail["msg"]), "")
            found.append(Mistake(path, rule, detail["input"], step))
    return found


def _inside(loc: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(loc) > len(outer) and tuple(loc[: len(outer)]) == tuple(outer)


def _rule(message: str) -> str:
    """Turns pydantic's sentence into a rule: 'Input should be greater than 0' -> 'must be greater than 0'."""
    message = message.removeprefix("Value error, ").replace("Input should be ", "must be ")
    message = re.sub(r"^(Input|Tuple|List|Dictionary) should have", "must have", message).replace(
        " after validation", ""
    )
    return message.replace("should have", "must have")


def _keys_at(model: type[BaseModel], loc: Sequence[int | str]) -> Collection[str]:
    """The keys that the (nested) model at `loc` takes."""
    for part in loc:
        inner = section(model.model_fields[part].annotation) if part in model.model_fields else None
        if inner is None:
            return ()
        model = inner
    return model.model_fields
