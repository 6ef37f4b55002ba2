"""What the user gave and cannot be used: which option, its value, the rule it breaks, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """One unusable input. Survives pickling, so that a worker's error reaches the driver as it is.

    Args:
        name: the option's dotted path, such as `data.label`.
        value: what was given or found.
        rule: what it breaks.
        next_step: what to do about it.
    """

    def __init__(self, name: str, value: object, rule: str, next_step: str) -> None:
        super().__init__(name, value, rule, next_step)
        self.name, self.value, self.rule, self.next_step = name, value, rule, next_step

    @property
    def message(self) -> str:
        """Value, rule and next step; for callers that show the path themselves."""
        return f"{self.value!r}: {self.rule}; {self.next_step}"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def close_match(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that is nearest to `name`, or None; `cutoff`: 1 where only an equal one is near enough."""
    close = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def nearest(name: str, known: Iterable[str]) -> str:
    """'did you mean X?' where a known name is near, else the list of all."""
    names = sorted(known)
    close = close_match(name, names)
    return f"did you mean {close}?" if close else f"known: {', '.join(names)}"
