"""The keywords of backend="wandb", and the options in a sweep's configuration besides its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from trainables.errors import InputError
from tuning.user_trainer.search_options import Keyword, NamedObjective, SearchOptions, refused_keyword, spec_keyword

SWEEP_METRIC = "hp_space.metric"
METHODS = {"random": "random", "grid": "grid", "bayes": "hyperopt"}


def _metric(options: SearchOptions, metric: str) -> None:
    options.objective = NamedObjective(metric.replace("/", "_"), None, "metric")


def read_sweep(options: SearchOptions, sweep: Mapping[str, Any]) -> None:
    """Set the method and the objective of a sweep's configuration, unless an argument has set them.

    Raises:
        InputError: its method is unknown.
    """
    method = str(sweep.get("method", "random"))
    if method not in METHODS:
        raise InputError("hp_space.method", method, f"must be one of {', '.join(METHODS)}", "change it")
    options.searcher = options.searcher or METHODS[method]  # type: ignore[assignment]
    metric = sweep.get("metric")
    if isinstance(metric, Mapping) and "name" in metric and options.objective is None:
        mode: Literal["max", "min"] = "max" if metric.get("goal") == "maximize" else "min"  # W&B's default
        options.objective = NamedObjective(str(metric["name"]).replace("/", "_"), mode, SWEEP_METRIC)
    if early := sweep.get("early_terminate"):
        factor = float(early.get("eta", 3))
        first = options.report_every_epochs * int(early.get("min_iter", 1))
        options.decided_by = by = "hp_space.early_terminate"
        options.written |= {"strategies.0.grace_epochs": f"{by}.min_iter", "strategies.0.reduction_factor": f"{by}.eta"}
        options.asha = {"grace_epochs": min(first, options.epochs), "reduction_factor": factor}


WANDB: tuple[Keyword, ...] = (
    spec_keyword("project", "`wandb.project`", "wandb.project"),
    spec_keyword("entity", "`wandb.entity`", "wandb.entity"),
    spec_keyword("name", "`name`, of the experiment and its run folder", "name"),
    Keyword(
        "metric",
        "the objective, where compute_objective gives none; eval/loss is eval_loss. Without it that of the sweep, with "
        "its goal",
        _metric,
    ),
    refused_keyword(
        "sweep_id", "a sweep that exists is searched by W&B's server", "return its parameters from hp_space"
    ),
)
