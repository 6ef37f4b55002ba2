"""A Ray domain whose draws are cast: Ray's own quantised domains accept only bounds that are multiples of the step."""

from __future__ import annotations

from collections.abc import Callable

from ray.tune.search.sample import Float


class Cast(Float):  # type: ignore[misc]
    """Draws from [lower, upper], (log-)uniformly, and returns `cast` of the draw."""

    def __init__(self, lower: float, upper: float, cast: Callable[[float], int | float]) -> None:
        super().__init__(lower, upper)
        self._cast = cast

    def cast(self, value: float) -> int | float:
        """Called by Ray's samplers with what they drew, a numpy number."""
        return self._cast(float(value))
