"""The objective of a search: the result of `compute_objective`, a metric by its name, or the loss; never a sum.

In: the arguments and keywords of a search. Out: a metric and a mode, as a spec has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from trainables.errors import InputError
from trainables.user_trainer.evaluation_metrics import COMPUTED, EVAL
from tuning.argument_checks import shortened
from tuning.user_trainer.search_options import NamedObjective
from tuning.user_trainer.wandb_keywords import SWEEP_METRIC

MODES: dict[str, Literal["max", "min"]] = {"maximize": "max", "minimize": "min"}


class SearchObjective(NamedTuple):
    """The objective of a search, as a spec has it."""

    metric: str
    mode: Literal["max", "min"]


def objective_of(
    direction: Any,
    compute_objective: Callable[[dict[str, float]], float] | None,
    named: NamedObjective | None,
    *,
    scored: bool,
) -> SearchObjective:
    """The metric that a search optimises, and which way is better.

    Args:
        direction: "minimize" or "maximize"; None: not given.
        named: by a keyword (`objective=`, a scheduler's `metric=`).
        scored: the Trainer has metrics besides its loss, or may have.

    Raises:
        InputError: several directions, an unknown one, or a choice that only the user can make.
    """
    if isinstance(direction, list | tuple):
        step = "give one, and combine the metrics in compute_objective, or search once for each"
        raise InputError("direction", list(direction), "no strategy here searches several objectives", step)
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
    if metric != COMPUTED and not any(metric.startswith(f"{name}_") for name in eval_dataset):
        rule = f"each of the sets {', '.join(map(str, eval_dataset))} has metrics of its own, and {metric} is none"
        step = f'write objective="{next(iter(eval_dataset), "NAME")}_{metric}", or combine them in compute_objective'
        raise InputError("objective", objective.metric, rule, step)


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
