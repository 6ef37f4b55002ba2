"""Numbers in sentences, in one way everywhere: '1 row', '2,400 rows', '42 %'."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: float, one: str, many: str = "") -> str:
    """`number` with its noun.

    Args:
        one: the noun of 1.
        many: that of other numbers; default: `one` with an s.
    """
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"
    return f"{shown} {one if number == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """A share of 1 in percent, with two digits below 10."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def some(items: Iterable[object], limit: int = 3) -> str:
    """The first few items in words: '3, 17, 18 and 5 more', '3 and 17'."""
    words = [str(item) for item in items]
    rest = len(words) - limit
    if rest > 0:
        return f"{', '.join(words[:limit])} and {rest:,} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
