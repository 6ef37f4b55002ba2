"""The error for input that cannot be used (option, value, rule, next step), and suggestions for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """One input that cannot be used. Picklable, so that a worker's error reaches the driver unchanged.

    Args:
        name: the option's dotted path, such as `data.label`.
        value: what the user gave, or what was found.
        rule: the rule that it breaks.
        next_step: what the user can do about it.
    """

    def __init__(self, name: str, value: object, rule: str, next_step: str) -> None:
        super().__init__(name, value, rule, next_step)
        self.name, self.value, self.rule, self.next_step = name, value, rule, next_step

    @property
    def message(self) -> str:
        """Value, rule and next step, for callers that print the path themselves."""
        return f"{self.value!r}: {self.rule}; {self.next_step}"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def close_match(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is most similar to `name`; None if no similarity reaches `cutoff` (1: equal but for case)."""
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Returns 'did you mean X?' if a known name is similar, else the list of all known names.

    Args:
        cutoff: as for `close_match`.
    """
    names = sorted(known)
    close = close_match(name, names, cutoff=cutoff)
    return f"did you mean {close}?" if close else f"known: {', '.join(names)}"
