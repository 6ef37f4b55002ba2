"""Turns the `parameters` of a Weights & Biases sweep into dimensions, by its rules for what is left out.

Source: "Sweep configuration options" of the W&B documentation; no W&B is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trainables.errors import InputError, nearest
from trainables.user_trainer.suggesting_trial import Suggestion, require_plain
from tuning.space.dimensions import Dimension, number_from_text
from tuning.space.ray_space import multiples
from tuning.space.suggestions import dimension_of, fixed

CHOICES = ("categorical", "constant", "categorical_w_probabilities")
EXPONENTS = ("log_uniform", "q_log_uniform")  # their bounds are natural logarithms
RANGES = (
    "uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values",
    "inv_log_uniform", *EXPONENTS,
)  # fmt: skip
WITHOUT_BOUNDS = ("normal", "q_normal", "log_normal", "q_log_normal", "beta", "q_beta")
WIDE = 2  # standard deviations to each side of a mean, in the range that is proposed in place of a normal distribution


def from_wandb(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Dimension]]:
    """Name and dimension of each parameter; those of a nested one have dotted names, as `optimizer.lr`.

    Raises:
        InputError: an unknown distribution, one without bounds, or keys that do not fit it.
    """
    return ((name, sweep_dimension(name, raw)) for name, raw in flat_parameters(parameters))


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and declaration of each parameter; those of a nested one have dotted names, as `optimizer.lr`."""
    for key, raw in parameters.items():
        name = f"{prefix}{key}"
        if isinstance(raw, Mapping) and isinstance(raw.get("parameters"), Mapping):
            yield from flat_parameters(raw["parameters"], f"{name}.")
        else:
            yield name, raw


def sweep_dimension(name: str, raw: Any, *, drawn_elsewhere: bool = False) -> Dimension:
    """Turns the declaration of one parameter into a dimension.

    Args:
        drawn_elsewhere: W&B's server draws; so values may have probabilities.

    Raises:
        InputError: as `from_wandb`.
    """
    if not isinstance(raw, Mapping):
        step = "such as {value: 3}, {values: [16, 32]} or {min: 0, max: 0.3}"
        raise InputError(f"space.{name}", raw, "a parameter of a sweep is a mapping", step)
    place, kind = f"space.{name}", raw.get("distribution")
    if not drawn_elsewhere and ("probabilities" in raw or kind == "categorical_w_probabilities"):
        rule = "values with probabilities are not drawn here: each has the same"
        raise InputError(place, dict(raw), rule, "leave the probabilities out")
    if kind in WITHOUT_BOUNDS:
        raise InputError(place, kind, "has no bounds", f"write {_bounded(str(kind), raw)}")
    if kind is not None and kind not in CHOICES + RANGES:
        raise InputError(place, kind, "no distribution of a sweep", nearest(str(kind), CHOICES + RANGES))
    if "value" in raw:
        return fixed(name, raw["value"])
    if "values" in raw:
        return dimension_of(
            name, Suggestion("categorical", choices=tuple(require_plain(one, place) for one in raw["values"]))
        )
    if kind in CHOICES or not {"min", "max"} <= raw.keys():
        raise InputError(place, dict(raw), "gives neither value, values nor min and max", "add one of them")
    low, high = number_from_text(raw["min"]), number_from_text(raw["max"])
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        raise InputError(place, [low, high], "min and max must be numbers", "mend them")
    whole = isinstance(low, int) and isinstance(high, int)
    return dimension_of(name, _range(name, str(kind or ("int_uniform" if whole else "uniform")), raw, low, high))


def _bounded(kind: str, raw: Mapping[str, Any]) -> str:
    """The declaration of a range that holds most of what a distribution without bounds draws."""
    step = f", q: {raw.get('q', 1)}" if kind.startswith("q_") else ""
    if kind.endswith("beta"):
        return f"{{distribution: {'q_' if step else ''}uniform, min: 0.0, max: 1.0{step}}}"
    mean, deviation = (number_from_text(raw.get(key, default)) for key, default in (("mu", 0.0), ("sigma", 1.0)))
    if not all(isinstance(one, int | float) for one in (mean, deviation)):
        return "uniform or log_uniform_values with min and max"
    ends = (mean - WIDE * deviation, mean + WIDE * deviation)  # type: ignore[operator]
    log = "log_" in kind
    low, high = (math.exp(end) for end in ends) if log else ends
    scale = f"{'q_' if step else ''}{'log_uniform_values' if log else 'uniform'}"
    return f"{{distribution: {scale}, min: {low:.4g}, max: {high:.4g}{step}}}"


def _range(name: str, kind: str, raw: Mapping[str, Any], low: Any, high: Any) -> Suggestion:
    log = "log" in kind
    if kind == "int_uniform":
        return Suggestion("int", math.ceil(low), math.floor(high), 1)
    if kind in EXPONENTS:
        low, high = math.exp(low), math.exp(high)
    if kind == "inv_log_uniform":
        low, high = math.exp(-high), math.exp(-low)
    if not kind.startswith("q_"):
        return Suggestion("float", float(low), float(high), log=log)
    quantum = number_from_text(raw.get("q", 1))
    if not isinstance(quantum, int | float) or quantum <= 0:
        raise InputError(f"space.{name}", quantum, "q must be a number greater than 0", "such as 0.1")
    first, last = multiples(name, max(low, quantum) if log else low, high, quantum)
    if isinstance(quantum, int):
        return Suggestion("int", int(first), int(last), int(quantum), log)
    return Suggestion("float", first, last, float(quantum), log)
