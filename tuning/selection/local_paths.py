"""What is made for others names no place of this machine: paths tell its user's name, its customers, its disks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

LOCAL = re.compile(r"(shipped:)?/.|file:|~[^/\s]*/")


def is_local(text: str) -> bool:
    """True for an absolute path, also of what was shipped, one below a home folder, or a file's URL."""
    return LOCAL.match(text) is not None


def local_places(value: Any, key: str = "") -> dict[str, str]:
    """The local paths in nested mappings and lists, by where they stand: `data.path`, `space.model.choice.0`."""
    if isinstance(value, str):
        return {key: value} if is_local(value) else {}
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    found: dict[str, str] = {}
    for name, part in items:
        found |= local_places(part, f"{key}.{name}" if key else str(name))
    return found


def without_places(value: Any, base: str | None = None) -> Any:
    """`value` with the last part of each local path in its place; of one below the folder `base`, what follows that."""
    if isinstance(value, str):
        return _shortened(value, base) if is_local(value) else value
    if isinstance(value, Mapping):
        return {name: without_places(part, base) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(part, base) for part in value]
    return value


def scrubbed(text: str, value: Any) -> str:
    """`text` without the local paths that stand in `value`, and without the home folder of whoever runs this."""
    places = {*local_places(value).values(), str(Path.home())} - {"/", "~"}
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, _shortened(place, None))
    return text


def _shortened(path: str, base: str | None) -> str:
    if base is not None and path != base and PurePath(path).is_relative_to(base):
        return str(PurePath(path).relative_to(base))
    return PurePath(path).name or "."
