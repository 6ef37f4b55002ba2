"""Keeps rows in memory within a block: `tunefleet validate` checks them and then summarises them, reading them once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_kept: ContextVar[dict[Hashable, Any] | None] = ContextVar("kept", default=None)


@contextmanager
def rows_cached() -> Iterator[None]:
    """In the block, what `read_once` returned is kept; changes of the files are not noticed. Nested blocks share it."""
    outer = _kept.get()
    token = _kept.set({} if outer is None else outer)
    try:
        yield
    finally:
        _kept.reset(token)


def read_once(key: Hashable, read: Callable[[], T]) -> T:
    """Calls `read`; within a block of `rows_cached` only once for equal keys, and returns the same result again."""
    known = _kept.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found
