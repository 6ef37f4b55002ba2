"""Compares two specs, to name the keys that differ when a resume is refused."""

from __future__ import annotations

from typing import Any

import yaml

from tuning.core_yaml import load_yaml, plain_copy


def differing_keys(recorded: str, now: str, *, apart_from: str = "") -> str:
    """Names up to five keys in which two specs differ, such as ': epochs, space.learning_rate differ'.

    Args:
        recorded: a spec as YAML.
        now: another spec as YAML.
        apart_from: a dotted key that is ignored.

    Returns:
        A text to append to a sentence; empty if the specs are equal.

    Raises:
        ValueError: one of them is no YAML.
    """
    try:
        old, new = _flat(plain_copy(load_yaml(recorded))), _flat(plain_copy(load_yaml(now)))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    keys = sorted(key for key in (old.keys() | new.keys()) - {apart_from} if old.get(key) != new.get(key))
    return f": {', '.join(keys[:5])}{' and more' if len(keys) > 5 else ''} differ" if keys else ""


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Returns the leaves of nested mappings and lists by dotted path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{path}.{key}" if path else str(key))
    return flat or ({path: value} if path else {})
