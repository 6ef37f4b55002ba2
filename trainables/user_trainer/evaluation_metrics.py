"""What an evaluation of a Trainer tells, as metrics of a report: numbers without prefix, without what clocks say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from trainables.errors import InputError

EVAL, TEST = "eval", "test"
COMPUTED = "objective"  # the metric that a user's compute_objective gives
TIMING_METRICS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
MEMORY_PREFIX = "mem_"  # what the Trainer's memory tracker adds


def metrics_of(
    told: Mapping[str, Any], prefix: str, datasets: Iterable[str] = (), objective: str = ""
) -> dict[str, float]:
    """The metrics in what `Trainer.evaluate` returned.

    Args:
        told: by name, most of them with the prefix and an underscore.
        prefix: `metric_key_prefix` of that evaluation.
        datasets: names of the evaluation sets, if there are several: each has its own figures of clocks.
        objective: the name by which the experiment asks for its metric; it may have the prefix.
    """
    parts = ("", *(f"{name}_" for name in datasets))
    ignored = {f"{part}{figure}" for part in parts for figure in TIMING_METRICS} | {"epoch"}
    metrics = {}
    for name, given in told.items():
        value = given.item() if getattr(given, "ndim", None) == 0 else given  # of NumPy or torch
        bare = name.removeprefix(f"{prefix}_")
        if bare in ignored or any(bare.startswith(f"{part}{MEMORY_PREFIX}") for part in parts):
            continue
        if isinstance(value, Real) and not isinstance(value, bool):
            metrics[bare] = float(value)
    asked = objective.removeprefix(f"{EVAL}_")
    if objective not in metrics and asked in metrics:
        metrics[objective] = metrics.pop(asked)
    return metrics


def computed_objective(compute: Callable[[dict[str, Any]], Any], told: Mapping[str, Any], prefix: str) -> float:
    """What the user's `compute_objective` makes of an evaluation, whose names then begin with `eval_` on any split.

    Raises:
        InputError: it is no number, or it asks for a metric that there is none of.
    """
    started = f"{prefix}_"
    renamed = {name: f"{EVAL}_{name.removeprefix(started)}" for name in told if name.startswith(started)}
    metrics = {renamed.get(name, name): score for name, score in told.items()}
    try:
        value = compute(metrics)
    except KeyError as error:
        if (name := error.args[0] if error.args else None) in metrics:
            raise
        rule = f"asks for a metric that no evaluation tells; there are {', '.join(metrics)}"
        raise InputError(
            "compute_objective", name, rule, "ask for one of them, or have compute_metrics return it"
        ) from error
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        step = "return one number: several objectives are not searched"
        raise InputError("compute_objective", value, f"returned a {type(value).__name__}", step)
    return float(value)


def is_finite(loss: Any) -> bool:
    """Whether the training loss of a stretch, a number or a tensor with one, is neither NaN nor infinite."""
    return math.isfinite(float(loss))
