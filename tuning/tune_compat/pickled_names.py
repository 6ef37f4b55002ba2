"""Finds the classes and functions of tunefleet that a snapshot of Tune's names, without unpickling anything.

Tune pickles them by their names: a study cannot go on where a version has other names. Read against ray 2.60: its
files are pickles, or JSON with pickles in hexadecimal.
"""

from __future__ import annotations

import importlib.util
import pickletools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("cluster", "trainables", "tuning")
PICKLE = b"\x80"  # the first byte
HEXADECIMAL = re.compile(rb"(?<![0-9a-f])80(?:04|05)95(?:[0-9a-f]{2})+")
_SILENT = ("PROTO", "FRAME")  # operations that neither push anything nor store it


def missing_names(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Returns what the files of a snapshot name of tunefleet and is not here, sorted: modules, or names in a module.

    Args:
        files: of Tune's, by name.
    """
    named = {one for content in files.values() for pickled in _pickles(content) for one in _named(pickled)}
    ours = {(module, name) for module, name in named if module.partition(".")[0] in PACKAGES}
    return tuple(sorted(filter(None, {_missing(module, name) for module, name in ours})))


def _missing(module: str, name: str) -> str:
    """Returns the module if it is not here, else `module.name` if its source does not have that word; "": both are."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # of a package above it
        found = None
    if found is None or found.origin is None:
        return module
    first = name.partition(".")[0]
    return "" if re.search(rf"\b{re.escape(first)}\b", Path(found.origin).read_text()) else f"{module}.{first}"


def _pickles(content: bytes) -> Iterator[bytes]:
    if content.startswith(PICKLE):
        yield content
    else:
        yield from (bytes.fromhex(found.decode()) for found in HEXADECIMAL.findall(content))


def _named(pickled: bytes) -> Iterator[tuple[str, str]]:
    """Yields module and name of each class and function in a pickle, up to the first byte that belongs to none."""
    memo: list[object] = []
    pushed: list[object] = [None, None]  # the last two matter: the names of a module and of something in it
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "MEMOIZE":
                memo.append(pushed[-1])
            elif operation.name in ("BINGET", "LONG_BINGET"):
                pushed = [pushed[-1], memo[argument or 0]]
            elif operation.name == "STACK_GLOBAL":
                yield str(pushed[0]), str(pushed[1])
                pushed = [None, None]
            elif operation.name not in _SILENT:
                pushed = [pushed[-1], argument if "UNICODE" in operation.name else None]
    except (ValueError, IndexError):  # hexadecimal digits that are no pickle
        return
