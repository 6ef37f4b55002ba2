"""Configurations of Weights & Biases sweeps: `method`, `metric`, `parameters`, `early_terminate`, `run_cap`.

Source: "Sweep configuration options" of the W&B documentation, and the schema in the package `sweeps` 0.3.0. No W&B is
imported. Random search and grids are those of `tuning.strategies`; W&B's `bayes` is a Gaussian process, and so is the
sampler `gp` of Optuna; its `hyperband` stops at rungs as ASHA does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError, nearest
from tuning.space.dimensions import Choice, Dimension, Fixed
from tuning.space.ranges import Range
from tuning.space.wandb_space import flat_parameters, sweep_dimension
from tuning.spec.formats.translation import (
    ForeignFormat,
    Translation,
    enter_metric,
    enter_parameter,
    folder_words,
    is_own,
)
from tuning.spec.mistakes import Mistake

if TYPE_CHECKING:
    from tuning.tracking.sweep_server import SweepPath

ONLINE = "online"  # a key that `online_configuration` adds: the path of a sweep whose server proposes
METHODS = ("grid", "random", "bayes")
SWEEP_KEYS = frozenset((
    *("apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project"),
    *("method", "command", "name", "run_cap", "metric", "metrics", "scheduler", "early_terminate"),
    *("parameters",),
    ONLINE,
))  # fmt: skip
BESIDE = "on the command line or in the file, or name a spec that has it: base=experiment.yaml (or base=PRESET)"
TRAINED = f"add task=..., data and model {BESIDE}; or trainable=module:function, your own training of these parameters"
ETA = 3  # W&B's default


def _recognises(raw: Mapping[str, Any]) -> bool:
    return isinstance(raw.get("parameters"), Mapping) and "space" not in raw


def _translate(sweep: Mapping[str, Any], given: Mapping[str, Any]) -> Translation:
    """The spec of a sweep.

    Args:
        sweep: its configuration.
        given: fields of a spec that stand beside it.
    """
    made, own = Translation(WANDB_SWEEP.title), is_own(given)
    made.steps = {"task": TRAINED, "epochs": f"add epochs=3, the longest training of a trial, {BESIDE}"}
    _names(made, sweep)
    dimensions = _parameters(made, sweep, own)
    _metric(made, sweep, own)
    if (online := sweep.get(ONLINE)) is not None:
        _serve(made, str(online), sweep)
    elif "strategies" in given:
        made.notes.append("strategies stand beside the sweep: its method, run_cap and early_terminate are not read")
    else:
        _strategy(made, sweep, given, dimensions)
    _left_out(made, sweep)
    return made


def _names(made: Translation, sweep: Mapping[str, Any]) -> None:
    if (name := folder_words(str(sweep.get("name") or ""))) != "":
        made.spec["name"] = name
    wandb = {key: str(sweep[key]) for key in ("project", "entity") if sweep.get(key)}
    if wandb:
        made.spec["wandb"] = wandb
        made.places |= {f"wandb.{key}": key for key in wandb}


def _parameters(made: Translation, sweep: Mapping[str, Any], own: bool) -> dict[str, Dimension]:
    """Enter the parameters; returns the dimension of each by the name that its user gave."""
    found: dict[str, Dimension] = {}
    for name, raw in flat_parameters(sweep["parameters"]):
        typed = f"parameters.{name}"
        try:
            dimension = sweep_dimension(name, raw, drawn_elsewhere=ONLINE in sweep)
        except InputError as error:
            made.refuse(Mistake(typed, error.rule, error.value, error.next_step))
            continue
        if not own and name == "seed" and isinstance(dimension, Choice):
            _seeds(made, typed, dimension, sweep)
            continue
        found[name] = dimension
        enter_parameter(made, typed, name, dimension, own=own)
        if isinstance(raw, Mapping) and str(raw.get("distribution", "")).endswith("log_uniform"):
            made.notes.append(f"{typed}: its bounds are exponents of e, {dimension.model_dump(exclude_defaults=True)}")
    return found


def _seeds(made: Translation, typed: str, dimension: Choice, sweep: Mapping[str, Any]) -> None:
    """Repeat a grid for each seed; elsewhere the seed is no hyperparameter."""
    if sweep.get("method") == "grid":
        made.spec["seeds"] = list(dimension.values)
        made.places["seeds"] = f"{typed}.values"
        made.notes.append(f"{typed} are the seeds of the experiment: the grid is run once with each")
        return
    step = f"write seeds={list(dimension.values)} instead: a search with each; or search head_seed, data_order_seed"
    made.refuse(Mistake(typed, "a seed is no hyperparameter", next_step=step))


def _metric(made: Translation, sweep: Mapping[str, Any], own: bool) -> None:
    metric = sweep.get("metric")
    if sweep.get("metrics"):
        step = "keep one, as metric: {name: ..., goal: ...}"
        made.mistakes.append(Mistake("metrics", "a sweep with several objectives is not read", next_step=step))
    if metric is None:
        if sweep.get("method") == "bayes":
            step = "add metric: {name: eval/accuracy, goal: maximize}"
            made.mistakes.append(Mistake("metric", "is missing, and method: bayes learns from it", next_step=step))
        elif not sweep.get("metrics"):
            made.notes.append("no metric: trials are compared by the task's own")
        return
    if not isinstance(metric, Mapping) or not isinstance(metric.get("name"), str):
        step = "such as metric: {name: eval/accuracy, goal: maximize}"
        made.mistakes.append(Mistake("metric", "must have a name", metric, step))
        return
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        made.mistakes.append(Mistake("metric.goal", "must be minimize or maximize", goal, "write one of them"))
        return
    made.places["objective"] = "metric"
    made.places["objective.mode"] = "metric.goal"
    made.steps["objective.mode"] = f"write goal: {'minimize' if goal == 'maximize' else 'maximize'}"
    enter_metric(made, "metric.name", metric["name"], "max" if goal == "maximize" else "min", own=own)
    if metric.get("target") is not None:
        made.notes.append(f"metric.target: {metric['target']} ends nothing here; run_cap or a budget does")
    for key in ("impute", "impute_while_running"):
        if key in metric:
            made.notes.append(f"metric.{key} is not read: a failed trial counts as worse than any score")


def _strategy(
    made: Translation, sweep: Mapping[str, Any], given: Mapping[str, Any], dimensions: Mapping[str, Dimension]
) -> None:
    method = sweep.get("method")
    if method not in METHODS:
        made.mistakes.append(_no_method(sweep))
        made.spec["strategies"], made.broken = [{"kind": "grid"}], {*made.broken, "strategies"}
        return
    made.places["strategies.0.trials"] = "run_cap"
    if method == "grid":
        _grid(made, sweep, dimensions)
        return
    trials = sweep.get("run_cap")
    rungs = _rungs(made, sweep, given)
    strategy: dict[str, Any] = {"kind": "random_asha" if rungs else "random", "trials": trials, **rungs}
    if method == "bayes":
        strategy = {"kind": "optuna", "sampler": "gp", "trials": trials}
        strategy |= {"pruner": "asha", **rungs} if rungs else {}
        made.notes.append("method: bayes is a Gaussian process, by Optuna's sampler gp; W&B's own: kind: wandb_sweep")
    made.spec["strategies"] = [strategy]
    if trials is None:
        made.notes.append("no run_cap: the budget ends the search")


def online_configuration(sweep: Mapping[str, Any], path: SweepPath) -> dict[str, Any]:
    """The configuration of a sweep whose server proposes: its runs are served, whatever its method."""
    named = {"name": sweep.get("name") or f"sweep-{path.id}", "project": path.project, "entity": path.entity}
    return {**sweep, **named, ONLINE: str(path)}


def _serve(made: Translation, path: str, sweep: Mapping[str, Any]) -> None:
    """Enter the strategy that asks the server, with the sweep's own names."""
    typed = {ours.removeprefix("space."): name for ours, name in made.places.items() if ours.startswith("space.")}
    names = {
        name: typed[name].removeprefix("parameters.")
        for name in made.spec.get("space", {})
        if typed[name] != f"parameters.{name}"
    }
    metric = sweep["metric"].get("name") if isinstance(sweep.get("metric"), Mapping) else None
    made.spec["strategies"] = [{"kind": "wandb_agent", "sweep": path, "names": names, "metric": metric}]
    made.spec["wandb"] = {**made.spec.get("wandb", {}), "mode": "online"}


def _no_method(sweep: Mapping[str, Any]) -> Mistake:
    method = sweep.get("method")
    if method is None:
        return Mistake("method", "is missing", next_step=f"add one of {', '.join(METHODS)}")
    if method == "custom":
        engine = (sweep.get("scheduler") or {}).get("engine", "its engine")
        step = "write method: bayes, or strategies=[{kind: ..., trials: 20}] beside it (`tunefleet ls strategies`)"
        return Mistake("method", f"a scheduler of one's own ({engine}) is not read", method, step)
    return Mistake("method", f"must be one of {', '.join(METHODS)}", method, nearest(str(method), METHODS))


def _grid(made: Translation, sweep: Mapping[str, Any], dimensions: Mapping[str, Dimension]) -> None:
    """Enter a grid: all values of each parameter; a range without a step has none to list."""
    counts = {name: dimension.count for name, dimension in dimensions.items() if not isinstance(dimension, Fixed)}
    for name in (name for name, count in counts.items() if count is None):
        step = "write values: [...], or distribution: q_uniform with min, max and q"
        made.mistakes.append(
            Mistake(f"parameters.{name}", "a grid lists values, and a range has no list", next_step=step)
        )
    if sweep.get("early_terminate"):
        rule = "a grid is trained to its end here"
        step = "remove it, or write method: random with run_cap, or strategies=[{kind: wandb_sweep, ...}] beside it"
        made.mistakes.append(Mistake("early_terminate", rule, next_step=step))
    ranged = [d.count for d in dimensions.values() if isinstance(d, Range) and d.count is not None]
    made.spec["strategies"] = [{"kind": "grid", **({"points": max(ranged)} if ranged else {})}]
    size, cap = 1, sweep.get("run_cap")
    for count in counts.values():
        size *= count or 1
    if isinstance(cap, int) and cap < size:
        step = "raise or remove it, or write method: random"
        made.mistakes.append(Mistake("run_cap", f"the grid has {size} combinations, and trains all", cap, step))


def _rungs(made: Translation, sweep: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """ASHA's rungs for W&B's `hyperband`, whose iterations are reports of the metric; {} without early stopping."""
    early = sweep.get("early_terminate")
    if not early:
        return {}
    if not isinstance(early, Mapping) or early.get("type") != "hyperband":
        kind = early.get("type") if isinstance(early, Mapping) else early
        made.mistakes.append(Mistake("early_terminate.type", "must be hyperband", kind, "W&B has no other"))
        return {}
    eta, first = early.get("eta", ETA), early.get("min_iter")
    if "max_iter" in early:
        first = int(early["max_iter"] / eta ** int(early.get("s", 1)))
    if not isinstance(first, int | float) or first < 1:
        step = "write min_iter: 1, the first evaluation after which runs are stopped"
        made.mistakes.append(
            Mistake("early_terminate", "gives neither min_iter nor max_iter with s", dict(early), step)
        )
        return {}
    every = given.get("report_every_epochs", 1.0)
    grace = first * every if isinstance(every, int | float) else float(first)
    made.places |= {
        "strategies.0.grace_epochs": "early_terminate.min_iter",
        "strategies.0.reduction_factor": "early_terminate.eta",
    }
    made.notes.append(
        f"early_terminate: asynchronous successive halving; at epoch {grace:g}, and at each rung {eta:g} times later, "
        f"the best 1/{eta:g} go on"
    )
    if early.get("strict") is False:
        made.notes.append("early_terminate.strict: false is not read: a trial counts with its score at the rung")
    return {"grace_epochs": grace, "reduction_factor": float(eta)}


def _left_out(made: Translation, sweep: Mapping[str, Any]) -> None:
    """Say what of the sweep is of W&B's agents alone."""
    unread = [key for key in ("program", "command", "job", "image_uri") if sweep.get(key)]
    if unread:
        verb = "are" if len(unread) > 1 else "is"
        made.notes.append(
            f"{' and '.join(unread)} {verb} not run: trials train the task with the model, or call "
            "trainable=module:function with the parameters"
        )
    if (sweep.get("controller") or {}).get("type") == "local":
        made.notes.append("controller: this process proposes; W&B's server is asked nothing")


WANDB_SWEEP = ForeignFormat("a W&B sweep", SWEEP_KEYS, _recognises, _translate)
