"""Finds the strategy that an experiment compares the others with first, from its spec and its strategies' kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.comparison.imputation import DEFAULTS


def declared_baseline(kinds: Mapping[str, str], spec: Mapping[str, Any]) -> str | None:
    """Returns the strategy that the spec names, else the one of kind `defaults`; None if there is neither.

    Args:
        kinds: of the strategies that have been run, by name.
        spec: the resolved spec as its YAML has it; {}: unknown.
    """
    named = spec.get("baseline")
    if named in kinds:
        return str(named)
    return next((name for name, kind in kinds.items() if kind == DEFAULTS), None)
