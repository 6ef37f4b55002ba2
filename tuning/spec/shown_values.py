"""Values of a spec as an error shows them: on one line, as YAML users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PASSWORD = re.compile(r"((?<=://)[^\s/:@]*:(?=[^\s@/]*@)|password=)[^\s@&]*")  # of a URL


def short_form(value: object, limit: int = 80) -> str:
    """A value on one line, as YAML users write it."""
    if isinstance(value, str):
        text = repr(PASSWORD.sub(r"\1***", value))
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


def bare_form(value: object) -> str:
    """A value on one line and whole, without quotes where YAML needs none."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {bare_form(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(bare_form, value)) + "]"
    return short_form(value)
