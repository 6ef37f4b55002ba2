"""The objectives of a search: the result of `compute_objective`, metrics by their names, or the loss; never a sum.

In: the arguments and keywords of a search. Out: metrics and modes, as a spec has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from trainables.errors import InputError
from trainables.metrics import COSTS, direction_of
from trainables.user_trainer.evaluation_metrics import COMPUTED, EVAL, computed_metric
from tuning.argument_checks import shortened
from tuning.user_trainer.search_options import NamedObjective
from tuning.user_trainer.wandb_keywords import SWEEP_METRIC

MODES: dict[str, Literal["max", "min"]] = {"maximize": "max", "minimize": "min"}


class SearchObjective(NamedTuple):
    """One objective of a search, as a spec has it."""

    metric: str
    mode: Literal["max", "min"]


def objectives_of(
    direction: Any,
    compute_objective: Callable[[dict[str, float]], Any] | None,
    named: NamedObjective | None,
    listed: Sequence[NamedObjective] = (),
    *,
    scored: bool,
) -> tuple[SearchObjective, ...]:
    """The metrics that a search optimises, and which way is better; several for a list of directions or of metrics.

    Args:
        direction: "minimize" or "maximize", or a list of them; None: not given.
        named: by a keyword (`objective=`, a scheduler's `metric=`).
        listed: the metrics of `objective=[...]`; (): it is no list.
        scored: the Trainer has metrics besides its loss, or may have.

    Raises:
        InputError: an unknown direction, or a choice that only the user can make.
    """
    if not listed and not isinstance(direction, list | tuple):
        return (objective_of(direction, compute_objective, named, scored=scored),)
    directions = _directions(direction, len(listed) or None)
    if listed:
        if compute_objective is not None:
            rule = "names metrics, and compute_objective gives objectives, too"
            raise InputError("objective", [one.metric for one in listed], rule, "give one of the two")
        return tuple(_of_list(one, way) for one, way in zip(listed, directions, strict=True))
    if compute_objective is None:
        rule = "nothing says of which metrics"
        step = "write objective=['accuracy', 'latency_ms'], or have compute_objective return as many numbers"
        raise InputError("direction", list(direction), rule, step)
    return tuple(SearchObjective(computed_metric(place), way or "min") for place, way in enumerate(directions))


def _directions(direction: Any, count: int | None) -> list[Literal["max", "min"] | None]:
    """The direction of each objective; None where it is not given."""
    given = list(direction) if isinstance(direction, list | tuple) else [direction] * (count or 1)
    for one in given:
        if one is not None and one not in MODES:
            raise InputError("direction", one, "must be 'minimize' or 'maximize'", "change it")
    if count is not None and len(given) != count:
        rule = f"has {len(given)} entries, and objective names {count} metrics"
        raise InputError("direction", given, rule, "give one for each")
    if len(given) < 2:
        raise InputError("direction", given, "is a list of one", "write direction='minimize', without a list")
    return [None if one is None else MODES[one] for one in given]


def _of_list(named: NamedObjective, way: Literal["max", "min"] | None) -> SearchObjective:
    known = direction_of(named.metric.removeprefix(f"{EVAL}_"))
    if named.mode is not None and way not in (None, named.mode):
        raise InputError("direction", way, f"objective says {named.mode} of {named.metric}", "write the same in both")
    if (mode := named.mode or way or known) is None:
        raise InputError(named.by, named.metric, "nothing says which way is better", "give a list as direction, too")
    return SearchObjective(named.metric, mode)


def objective_of(
    direction: Any,
    compute_objective: Callable[[dict[str, float]], float] | None,
    named: NamedObjective | None,
    *,
    scored: bool,
) -> SearchObjective:
    """The one metric that a search optimises, and which way is better.

    Args:
        direction: "minimize" or "maximize"; None: not given.
        named: by a keyword (`objective=`, a scheduler's `metric=`).
        scored: the Trainer has metrics besides its loss, or may have.

    Raises:
        InputError: an unknown direction, or a choice that only the user can make.
    """
    if direction is not None and direction not in MODES:
        raise InputError("direction", direction, "must be 'minimize' or 'maximize'", "change it")
    mode = None if direction is None else MODES[direction]
    if compute_objective is not None:
        keyword_mode = named.mode if named is not None and named.metric == COMPUTED else None
        of_sweep = named is not None and named.by == SWEEP_METRIC  # whose goal gives way to the direction, as ever
        if keyword_mode is not None and mode not in (None, keyword_mode) and not of_sweep:
            rule = f"{named.by if named else ''} says {keyword_mode}"
            raise InputError("direction", direction, rule, "write the same in both")
        return SearchObjective(COMPUTED, mode or keyword_mode or "min")
    if named is not None and named.metric != COMPUTED:
        if (way := named.mode or mode) is None:
            step = "write direction='maximize' or 'minimize'"
            raise InputError(named.by, named.metric, "nothing says which way is better", step)
        return SearchObjective(named.metric, way)
    if mode == "max":
        has = "and the Trainer has other metrics" if scored else "and there is no other metric"
        step = "choose a metric by its name: objective='accuracy', or compute_objective=lambda metrics: ..."
        raise InputError("direction", direction, f"without compute_objective the loss is the objective, {has}", step)
    return SearchObjective("loss", "min")


def require_reported(eval_dataset: Any, trainer: Any, objective: SearchObjective) -> None:
    """Require of a Trainer with several evaluation sets that the objective is a metric of one of them.

    A Trainer whose `evaluate` is not transformers' own may report more, and its metrics are not known.

    Raises:
        InputError: it is none.
    """
    evaluate = getattr(type(trainer), "evaluate", None)
    if not isinstance(eval_dataset, Mapping) or not str(getattr(evaluate, "__module__", "")).startswith(
        "transformers."
    ):
        return
    metric = objective.metric.removeprefix(f"{EVAL}_")
    if metric != COMPUTED and metric not in COSTS and not any(metric.startswith(f"{name}_") for name in eval_dataset):
        rule = f"each of the sets {', '.join(map(str, eval_dataset))} has metrics of its own, and {metric} is none"
        step = f'write objective="{next(iter(eval_dataset), "NAME")}_{metric}", or combine them in compute_objective'
        raise InputError("objective", objective.metric, rule, step)


def named_objectives(objective: Any) -> tuple[NamedObjective, ...]:
    """The metrics of a list; () of anything else.

    Raises:
        InputError: an entry names none.
    """
    return tuple(map(named_objective, objective)) if isinstance(objective, list | tuple) else ()


def named_objective(objective: Any) -> NamedObjective:
    """The metric that a user names, alone or with its mode.

    Raises:
        InputError: it names none.
    """
    if isinstance(objective, str):
        return NamedObjective(objective, None, "objective")
    if isinstance(objective, Mapping) and set(objective) == {"metric", "mode"} and objective["mode"] in ("max", "min"):
        return NamedObjective(objective["metric"], objective["mode"], "objective")
    step = 'write objective="accuracy", or {"metric": "accuracy", "mode": "max"}'
    raise InputError("objective", shortened(objective), "must name a metric", step)
