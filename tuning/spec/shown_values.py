"""Values of a spec as an error shows them: on one line, as YAML users write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def short_form(value: object, limit: int = 80) -> str:
    """A value on one line, as YAML users write it."""
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {short_form(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(short_form(item) for item in value) + "]"
    else:
        text = _yaml_scalar(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _yaml_scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
