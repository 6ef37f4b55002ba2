"""Converts the result of `Trainer.evaluate` to the metrics of a report: numbers, without prefix and timing figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from trainables.errors import InputError

EVAL, TEST = "eval", "test"
COMPUTED = "objective"  # the metric that a user's compute_objective gives; of several objective_0, objective_1, ...
TIMING_METRICS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
MEMORY_PREFIX = "mem_"  # what the Trainer's memory tracker adds


def metrics_of(
    evaluated: Mapping[str, Any], prefix: str, datasets: Iterable[str] = (), objectives: Iterable[str] = ()
) -> dict[str, float]:
    """Extracts the metrics from the result of `Trainer.evaluate`.

    Args:
        evaluated: the result, by name; most names have the prefix and an underscore.
        prefix: `metric_key_prefix` of that evaluation.
        datasets: names of the evaluation sets, if there are several: each has timing figures of its own.
        objectives: the metrics of the experiment's objectives; they may have the prefix.
    """
    parts = ("", *(f"{name}_" for name in datasets))
    ignored = {f"{part}{figure}" for part in parts for figure in TIMING_METRICS} | {"epoch"}
    metrics = {}
    for name, given in evaluated.items():
        value = given.item() if getattr(given, "ndim", None) == 0 else given  # a scalar of NumPy or torch
        bare = name.removeprefix(f"{prefix}_")
        if bare in ignored or any(bare.startswith(f"{part}{MEMORY_PREFIX}") for part in parts):
            continue
        if isinstance(value, Real) and not isinstance(value, bool):
            metrics[bare] = float(value)
    for objective in objectives:
        asked = objective.removeprefix(f"{EVAL}_")
        if objective not in metrics and asked in metrics:
            metrics[objective] = metrics.pop(asked)
    return metrics


def computed_metric(place: int) -> str:
    """The name of one of several numbers that a compute_objective gives."""
    return f"{COMPUTED}_{place}"


def computed_objectives(
    compute: Callable[[dict[str, Any]], Any], evaluated: Mapping[str, Any], prefix: str
) -> dict[str, float]:
    """Calls the user's `compute_objective` with the metrics of an evaluation, which get the prefix `eval_`.

    Returns:
        The number that it gives as the metric `objective`; of a list or a tuple each under a name of its own.

    Raises:
        InputError: the result is no number and no numbers, or the function reads a metric that does not exist.
    """
    started = f"{prefix}_"
    renamed = {name: f"{EVAL}_{name.removeprefix(started)}" for name in evaluated if name.startswith(started)}
    metrics = {renamed.get(name, name): score for name, score in evaluated.items()}
    try:
        value = compute(metrics)
    except KeyError as error:
        if (name := error.args[0] if error.args else None) in metrics:
            raise
        rule = f"reads a metric that no evaluation returns; there are {', '.join(metrics)}"
        raise InputError(
            "compute_objective", name, rule, "read one of them, or have compute_metrics return it"
        ) from error
    if isinstance(value, list | tuple):
        return {computed_metric(place): _number(one) for place, one in enumerate(value)}
    return {COMPUTED: _number(value)}


def _number(value: Any) -> float:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        step = "return one number, or a list of them for several directions"
        raise InputError("compute_objective", value, f"returned a {type(value).__name__}", step)
    return float(value)
