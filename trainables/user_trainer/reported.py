"""What an evaluation of a Trainer tells, as metrics of a report: numbers without prefix, without what clocks say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

EVAL, TEST = "eval", "test"
OF_CLOCKS = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
OF_MEMORY = "mem_"  # what the Trainer's memory tracker adds


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
    ignored = {f"{part}{figure}" for part in parts for figure in OF_CLOCKS} | {"epoch"}
    metrics = {}
    for name, value in told.items():
        bare = name.removeprefix(f"{prefix}_")
        if bare in ignored or any(bare.startswith(f"{part}{OF_MEMORY}") for part in parts):
            continue
        if isinstance(value, Real) and not isinstance(value, bool):
            metrics[bare] = float(value)
    asked = objective.removeprefix(f"{EVAL}_")
    if objective not in metrics and asked in metrics:
        metrics[objective] = metrics.pop(asked)
    return metrics


def is_finite(loss: Any) -> bool:
    """Whether the training loss of a stretch, a number or a tensor with one, is neither NaN nor infinite."""
    return math.isfinite(float(loss))
