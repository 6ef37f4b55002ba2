"""Rows that were read are not read again: `tunefleet validate` checks them, and then shows what they came to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
_kept: ContextVar[dict[Hashable, Any] | None] = ContextVar("kept", default=None)


@contextmanager
def rows_cached() -> Iterator[None]:
    """In the block, what was read of a data set stays in memory, and files that change meanwhile are not looked at. A
    block inside another one shares its rows."""
    outer = _kept.get()
    token = _kept.set({} if outer is None else outer)
    try:
        yield
    finally:
        _kept.reset(token)


def read_once(key: Hashable, read: Callable[[], T]) -> T:
    """What `read` returns, or within a block of `rows_cached` what it has returned before for an equal `key`."""
    known = _kept.get()
    if known is None:
        return read()
    if key not in known:
        known[key] = read()
    found: T = known[key]
    return found
