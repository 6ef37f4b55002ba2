"""Finds and shortens local paths in what is published: a path may show names of users, customers and disks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

LOCAL = re.compile(r"(shipped:)?/.|file:|~[^/\s]*/")


def is_local_path(text: str) -> bool:
    """True for an absolute path, also of what was shipped, one below a home folder, or a file's URL."""
    return LOCAL.match(text) is not None


def find_local_paths(value: Any, key: str = "") -> dict[str, str]:
    """Return the local paths in nested mappings and lists by key, such as `data.path` or `space.model.choice.0`."""
    if isinstance(value, str):
        return {key: value} if is_local_path(value) else {}
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    found: dict[str, str] = {}
    for name, part in items:
        found |= find_local_paths(part, f"{key}.{name}" if key else str(name))
    return found


def shorten_paths(value: Any, base: str | None = None) -> Any:
    """Return `value` with local paths cut to their last part; of a path below `base` what follows that folder stays."""
    if isinstance(value, str):
        return _shortened(value, base) if is_local_path(value) else value
    if isinstance(value, Mapping):
        return {name: shorten_paths(part, base) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [shorten_paths(part, base) for part in value]
    return value


def remove_local_paths(text: str, value: Any) -> str:
    """Return `text` without the local paths in `value`, and without the home folder of the user."""
    places = {*find_local_paths(value).values(), str(Path.home())} - {"/", "~"}
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, _shortened(place, None))
    return text


def _shortened(path: str, base: str | None) -> str:
    if base is not None and path != base and PurePath(path).is_relative_to(base):
        return str(PurePath(path).relative_to(base))
    return PurePath(path).name or "."
