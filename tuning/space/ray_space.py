"""Turns Ray Tune's domains, such as `tune.loguniform(1e-5, 1e-3)`, into dimensions.

Ray's whole-number domains leave their upper bound out (`tune.randint(1, 4)` draws 1, 2 or 3), except the quantised
ones; ours hold both ends, so the bound is moved. A quantised domain holds the multiples of its step between its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trainables.errors import InputError
from trainables.user_trainer.suggesting_trial import Suggestion, require_plain
from tuning.space.dimensions import Dimension
from tuning.space.suggestions import dimension_of

GRID = "grid_search"
INSTEAD = "write uniform or loguniform with bounds, or `def hp_space(trial)` with suggest_*"


def from_ray(name: str, raw: Any) -> Dimension:
    """Turns a Ray domain, or what `tune.grid_search` makes, into a dimension.

    Raises:
        InputError: it has no bounds (`tune.randn`), or draws by itself (`tune.sample_from`).
    """
    from ray.tune.search.sample import Categorical, Float, Function, Integer, LogUniform, Normal, Quantized

    place = f"space.{name}"
    if isinstance(raw, Mapping | Categorical):
        values = raw[GRID] if isinstance(raw, Mapping) else raw.categories
        return dimension_of(
            name, Suggestion("categorical", choices=tuple(require_plain(value, place) for value in values))
        )
    if isinstance(raw, Function):
        rule = "draws with a random state of its own, so a search could be neither repeated nor resumed"
        raise InputError(
            place,
            "tune.sample_from(...)",
            rule,
            "write `def hp_space(trial)` with suggest_*, where one value may depend on another",
        )
    sampler = raw.get_sampler()
    quantum = sampler.q if isinstance(sampler, Quantized) else None
    sampler = sampler.get_sampler() if isinstance(sampler, Quantized) else sampler
    if isinstance(sampler, Normal) or not isinstance(raw, Float | Integer):
        raise InputError(
            place, f"{type(raw).__name__} {raw.domain_str}", "a normal distribution has no bounds", INSTEAD
        )
    low, high, log = raw.lower, raw.upper, isinstance(sampler, LogUniform)
    if isinstance(raw, Integer):
        return dimension_of(name, _whole(low, high, quantum, log))
    if quantum is None:
        return dimension_of(name, Suggestion("float", float(low), float(high), log=log))
    first, last = multiples(name, low, high, quantum)
    return dimension_of(name, Suggestion("float", first, last, float(quantum), log))


def _whole(low: int, high: int, quantum: int | None, log: bool) -> Suggestion:
    """The range of a whole-number domain: quantised ones reach the upper bound; others, and those of step 1, do not."""
    if quantum is None or quantum == 1:
        return Suggestion("int", low, high - 1, 1, log)
    return Suggestion("int", math.ceil(low / quantum) * quantum, math.floor(high / quantum) * quantum, quantum, log)


def multiples(name: str, low: float, high: float, quantum: float) -> tuple[float, float]:
    """The first and the last multiple of `quantum` between two bounds, up to the rounding of a last digit.

    Raises:
        InputError: there is none.
    """
    first, last = math.ceil(low / quantum - 1e-9), math.floor(high / quantum + 1e-9)
    if first > last:
        rule = f"holds no multiple of its step {quantum:g}"
        raise InputError(f"space.{name}", [low, high], rule, "lower the step or widen the range")
    return _times(first, quantum), _times(last, quantum)


def _times(count: int, quantum: float) -> float:
    """The product in decimals, so that 3 x 0.1 is 0.3, as people write it."""
    return float(count * Decimal(repr(quantum)))
