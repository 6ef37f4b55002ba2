"""Reads the settings of the schedulers and searchers that users pass to Ray's backend: Ray keeps them private.

Imports no Ray. Read against ray 2.60.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class AshaSettings(NamedTuple):
    """The arguments of `ray.tune.schedulers.ASHAScheduler`."""

    time_attr: str
    brackets: int
    first_rung: float  # in `time_attr`
    max_t: float
    reduction_factor: float


class PbtSettings(NamedTuple):
    """The arguments of `ray.tune.schedulers.PopulationBasedTraining`, and of `PB2`, which is one."""

    time_attr: str
    perturbation_interval: float
    burn_in_period: float
    hyperparam_mutations: Mapping[str, Any]
    quantile_fraction: float
    resample_probability: float
    perturbation_factors: tuple[float, ...]
    synch: bool
    custom_explore_fn: Callable[..., Any] | None


def sampler_of(search: Any) -> Any:
    """The sampler of an `OptunaSearch`."""
    return search._sampler


def metric_and_mode_of(scheduler: Any) -> tuple[str | None, str | None]:
    """The metric and the mode ("max", "min") of a scheduler; None for what it leaves open."""
    mode: str | None = getattr(scheduler, "_mode", None)
    return scheduler._metric, mode or {1.0: "max", -1.0: "min"}.get(getattr(scheduler, "_metric_op", None) or 0.0)


def asha_settings(scheduler: Any) -> AshaSettings:
    """The settings of an ASHA scheduler."""
    rungs = scheduler._brackets[0]._rungs
    return AshaSettings(
        scheduler._time_attr,
        len(scheduler._brackets),
        min(milestone for milestone, _ in rungs) if rungs else 1,
        scheduler._max_t,
        float(scheduler._reduction_factor),
    )


def pbt_settings(scheduler: Any) -> PbtSettings:
    """The settings of a PBT or PB2 scheduler; the `hyperparam_bounds` of PB2 are its mutations, as pairs of numbers."""
    return PbtSettings(
        scheduler._time_attr,
        scheduler._perturbation_interval,
        scheduler._burn_in_period,
        dict(scheduler._hyperparam_mutations),
        scheduler._quantile_fraction,
        scheduler._resample_probability,
        tuple(scheduler._perturbation_factors),
        scheduler._synch,
        scheduler._custom_explore_fn,
    )


def points_of(searcher: Any) -> list[dict[str, Any]] | None:
    """The `points_to_evaluate` of a searcher, by name; None: it has turned them into its own records."""
    points = getattr(searcher, "_points_to_evaluate", None)
    if isinstance(points, int) and points:
        return None
    return [dict(point) for point in points or ()]
