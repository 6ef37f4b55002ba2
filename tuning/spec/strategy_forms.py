"""Strategies that are named in another form than `{kind: random, trials: 4}`, and how to write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.spec.known_names import suggest_strategy
from tuning.spec.shown_values import bare_form
from tuning.strategies import find_strategies

NAMING = ("kind", "name", "type", "strategy", "algorithm")  # keys of which the value may name a strategy
USUAL = ("trials", "population", "points")  # what a bare number behind a strategy's name is most likely to mean


def suggest_kind(raw: Mapping[str, Any]) -> str:
    """The next step for a strategy without `kind`, in the words of what is there; empty if nothing names one."""
    if (written := written_in_full(raw)) is not None:
        return f"write {written}"
    for key, value in raw.items():
        if key.lower() in NAMING and isinstance(value, str):
            return f"write kind in place of {key}; {value!r} is none here: {suggest_strategy(value, find_strategies())}"
    return ""


def written_in_full(raw: Mapping[str, Any]) -> str | None:
    """The strategy that `raw` means, as a spec has it; None if no key of it and none that names one is a kind."""
    known = find_strategies()
    for key, value in raw.items():
        others = {name: other for name, other in raw.items() if name != key}
        if key.lower() in NAMING and isinstance(value, str) and value.lower() in known:
            return bare_form({"kind": value.lower(), **others})
        if key.lower() in known:
            kind = key.lower()
            number = next((name for name in USUAL if name in known[kind].model_fields), None)
            bare = isinstance(value, int | float) and not isinstance(value, bool)
            own = value if isinstance(value, Mapping) else {number: value} if number and bare else {}
            return bare_form({"kind": kind, **own, **others})
    return None
