"""The keywords of backend="wandb", and what a sweep's configuration says besides its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from trainables.errors import InputError
from tuning.user_trainer.wishes import Keyword, NamedObjective, Wishes, named, no

SWEEP_METRIC = "hp_space.metric"
METHODS = {"random": "random", "grid": "grid", "bayes": "hyperopt"}


def _metric(wishes: Wishes, metric: str) -> None:
    wishes.objective = NamedObjective(metric.replace("/", "_"), None, "metric")


def read_sweep(wishes: Wishes, sweep: Mapping[str, Any]) -> None:
    """Enter what a sweep's configuration says about how it searches, and for what, unless an argument says that.

    Raises:
        InputError: its method is unknown.
    """
    method = str(sweep.get("method", "random"))
    if method not in METHODS:
        raise InputError("hp_space.method", method, f"must be one of {', '.join(METHODS)}", "change it")
    wishes.proposes = wishes.proposes or METHODS[method]  # type: ignore[assignment]
    metric = sweep.get("metric")
    if isinstance(metric, Mapping) and "name" in metric and wishes.objective is None:
        mode: Literal["max", "min"] = "max" if metric.get("goal") == "maximize" else "min"  # W&B's default
        wishes.objective = NamedObjective(str(metric["name"]).replace("/", "_"), mode, SWEEP_METRIC)
    if early := sweep.get("early_terminate"):
        factor = float(early.get("eta", 3))
        first = wishes.report_every_epochs * int(early.get("min_iter", 1))
        wishes.stops = {"grace_epochs": min(first, wishes.epochs), "reduction_factor": factor}


WANDB: tuple[Keyword, ...] = (
    named("project", "`wandb.project`", "wandb.project"),
    named("entity", "`wandb.entity`", "wandb.entity"),
    named("name", "`name`, of the experiment and its run folder", "name"),
    Keyword(
        "metric",
        "the objective, where compute_objective gives none; eval/loss is eval_loss. Without it that of the sweep, with "
        "its goal",
        _metric,
    ),
    no("sweep_id", "a sweep that exists is searched by W&B's server", "return its parameters from hp_space"),
)
