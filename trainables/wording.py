"""Formats numbers and lists for sentences, in one way everywhere: '1 row', '2,400 rows', '42 %'."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: float, one: str, many: str = "") -> str:
    """Formats `number` with its noun.

    Args:
        number: a whole number gets thousands separators.
        one: the noun in the singular.
        many: the noun in the plural; default: `one` with an s.
    """
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{shown} {one if number == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """Formats a share (0 to 1) in percent, with two digits below 10 %."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def some(items: Iterable[object], limit: int = 3) -> str:
    """Lists the first `limit` items in words: '3, 17, 18 and 5 more', '3 and 17'."""
    words = [str(item) for item in items]
    rest = len(words) - limit
    if rest > 0:
        return f"{', '.join(words[:limit])} and {rest:,} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
