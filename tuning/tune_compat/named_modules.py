"""Finds the modules that a snapshot of Tune's names, without unpickling anything.

Tune pickles functions and classes by their names: a study cannot go on where a version has other modules. Read against
ray 2.60: its files are pickles, or JSON with pickles in hexadecimal.
"""

from __future__ import annotations

import importlib.util
import pickletools
import re
from collections.abc import Iterator, Mapping

PACKAGES = ("cluster", "trainables", "tuning")
PICKLE = b"\x80"  # the first byte
HEXADECIMAL = re.compile(rb"(?<![0-9a-f])80(?:04|05)95(?:[0-9a-f]{2})+")
_SILENT = ("PROTO", "FRAME")  # operations that neither push anything nor store it


def missing_modules(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Returns the modules of tunefleet that the files of a snapshot name and that are not here, sorted.

    Args:
        files: of Tune's, by name.
    """
    named = {module for content in files.values() for pickled in _pickles(content) for module in _modules(pickled)}
    return tuple(sorted(one for one in named if one.partition(".")[0] in PACKAGES and not _is_here(one)))


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def _pickles(content: bytes) -> Iterator[bytes]:
    if content.startswith(PICKLE):
        yield content
    else:
        yield from (bytes.fromhex(found.decode()) for found in HEXADECIMAL.findall(content))


def _modules(pickled: bytes) -> Iterator[str]:
    """Yields the module of each class and function in a pickle; those before the first byte that belongs to none."""
    memo: list[object] = []
    pushed: list[object] = [None, None]  # the last two matter: the names of a module and of something in it
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "MEMOIZE":
                memo.append(pushed[-1])
            elif operation.name in ("BINGET", "LONG_BINGET"):
                pushed = [pushed[-1], memo[argument or 0]]
            elif operation.name == "STACK_GLOBAL":
                yield str(pushed[0])
                pushed = [None, None]
            elif operation.name not in _SILENT:
                pushed = [pushed[-1], argument if "UNICODE" in operation.name else None]
    except (ValueError, IndexError):  # hexadecimal digits that are no pickle
        return
