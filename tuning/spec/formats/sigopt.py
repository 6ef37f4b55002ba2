"""Experiments of SigOpt: `parameters` as a list, `metrics`, `observation_budget`, `parallel_bandwidth`.

SigOpt's service has ended. What it did for such an experiment was a Gaussian process, which Optuna's sampler `gp` is,
too. Source: "Create Experiment" of SigOpt's API, and the package sigoptlite 0.1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.user_trainer.suggesting_trial import Suggestion, require_plain
from tuning.space.dimensions import Dimension, number_from_text
from tuning.space.suggestions import dimension_of
from tuning.spec.formats.translation import (
    DeclaredAs,
    ForeignFormat,
    Translation,
    enter_metric,
    enter_parameter,
    folder_words,
    is_own,
)
from tuning.spec.mistakes import Mistake, join_path

TYPES = ("double", "int", "categorical")
SIGOPT_KEYS = frozenset((
    *("name", "project", "client", "type", "parameters", "metrics", "metric", "observation_budget", "budget"),
    *("parallel_bandwidth", "metadata", "linear_constraints", "conditionals", "num_solutions", "tasks"),
    *("development", "can_be_deleted"),
))  # fmt: skip
STRATEGIES: dict[str, dict[str, Any]] = {
    "offline": {"kind": "optuna", "sampler": "gp"},
    "random": {"kind": "random"},
    "grid": {"kind": "grid"},
}
# What would change the search, and cannot be said here; the value with which it says nothing.
REFUSED = {
    "linear_constraints": "no constraints on several parameters together are kept here",
    "conditionals": "a parameter cannot depend on another one here",
    "num_solutions": "one best configuration is looked for",
    "tasks": "cheaper tasks of an experiment are not read",
}
BESIDE = "on the command line or in the file, or name a spec that has it: base=experiment.yaml (or base=PRESET)"


def _recognises(raw: Mapping[str, Any]) -> bool:
    parameters = raw.get("parameters")
    return (
        isinstance(parameters, Sequence)
        and not isinstance(parameters, str)
        and all(isinstance(one, Mapping) and "name" in one for one in parameters)
        and "space" not in raw
    )


def _translate(experiment: Mapping[str, Any], given: Mapping[str, Any]) -> Translation:
    """The spec of an experiment.

    Args:
        experiment: as SigOpt's API took it.
        given: fields of a spec that stand beside it.
    """
    made, own = Translation(SIGOPT.title), is_own(given)
    step = f"add task=..., data and model {BESIDE}; or trainable=module:function, your own training"
    made.steps = {"task": step, "epochs": f"add epochs=3, the longest training of a trial, {BESIDE}"}
    if (name := folder_words(str(experiment.get("name") or ""))) != "":
        made.spec["name"] = name
    for position, raw in enumerate(experiment["parameters"]):
        _parameter(made, join_path("parameters", position), raw, own)
    _metrics(made, experiment, own)
    _search(made, experiment, given)
    for key, rule in REFUSED.items():
        if experiment.get(key) not in (None, [], 1):
            made.mistakes.append(Mistake(key, rule, next_step="remove it"))
    return made


def _parameter(made: Translation, place: str, raw: Mapping[str, Any], own: bool) -> None:
    name = str(raw["name"])
    try:
        dimension = _dimension(name, raw)
    except InputError as error:
        made.refuse(Mistake(place, f"{name}: {error.rule}", error.value, error.next_step))
        return
    if raw.get("conditions"):
        made.mistakes.append(Mistake(f"{place}.conditions", REFUSED["conditionals"], next_step="remove it"))
    for key in ("prior", "default_value"):
        if raw.get(key) is not None:
            made.notes.append(f"{place}.{key} of {name} is not read")
    keys = DeclaredAs("categorical_values" if raw["type"] == "categorical" else "grid", "bounds.min", "bounds.max")
    enter_parameter(made, place, name, dimension, own=own, keys=keys)


def _dimension(name: str, raw: Mapping[str, Any]) -> Dimension:
    """Turns one parameter into a dimension.

    Raises:
        InputError: its type, its bounds or its values cannot be read.
    """
    kind, place = raw.get("type"), f"space.{name}"
    if kind not in TYPES:
        raise InputError(place, kind, f"type must be one of {', '.join(TYPES)}", "correct it")
    listed = raw.get("categorical_values") if kind == "categorical" else raw.get("grid")
    if listed:
        values = [one.get("name") if isinstance(one, Mapping) else one for one in listed]
        return dimension_of(name, Suggestion("categorical", choices=tuple(require_plain(v, place) for v in values)))
    if kind == "categorical":
        raise InputError(place, dict(raw), "categorical_values are missing", "such as categorical_values: [a, b]")
    bounds = raw.get("bounds")
    ends = [number_from_text(bounds.get(key)) for key in ("min", "max")] if isinstance(bounds, Mapping) else []
    if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
        raise InputError(place, bounds, "bounds must have min and max", "such as bounds: {min: 0.1, max: 1}")
    if (transformation := raw.get("transformation")) not in (None, "none", "log"):
        raise InputError(place, transformation, "transformation must be log or none", "correct it")
    low, high = (float(str(end)) for end in ends)
    log = transformation == "log"
    if kind == "int":
        return dimension_of(name, Suggestion("int", int(low), int(high), 1, log))
    return dimension_of(name, Suggestion("float", low, high, log=log))


def _metrics(made: Translation, experiment: Mapping[str, Any], own: bool) -> None:
    """Enter the metric that is optimised; those that are only stored are recorded anyway."""
    single = experiment.get("metric")
    given = experiment.get("metrics") or ([single] if single is not None else [])
    listed = [(position, one if isinstance(one, Mapping) else {"name": one}) for position, one in enumerate(given)]
    for position, one in listed:
        place = join_path("metrics", position)
        if one.get("strategy") == "constraint" or one.get("threshold") is not None:
            rule = "a threshold or a constraint on a metric is not kept here"
            made.mistakes.append(Mistake(place, rule, next_step="remove it, or strategy: store"))
    optimised = [(p, one) for p, one in listed if one.get("strategy", "optimize") == "optimize"]
    if len(optimised) > 1:
        step = "keep one, and give the others strategy: store"
        made.mistakes.append(Mistake("metrics", "several metrics are optimised", next_step=step))
    for position, one in optimised[:1]:
        place = join_path("metrics", position)
        goal = one.get("objective", "maximize")
        if goal not in ("maximize", "minimize"):
            made.mistakes.append(Mistake(f"{place}.objective", "must be maximize or minimize", goal, "write one"))
            continue
        made.places |= {"objective": place, "objective.mode": f"{place}.objective"}
        made.steps["objective.mode"] = f"write objective: {'minimize' if goal == 'maximize' else 'maximize'}"
        mode = "max" if goal == "maximize" else "min"
        enter_metric(made, f"{place}.name", str(one.get("name") or ""), mode, own=own)
    if not optimised:
        made.notes.append("no metric is optimised: trials are compared by the task's own")


def _search(made: Translation, experiment: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Enter strategy, number of trials, and how many run at a time."""
    kind = str(experiment.get("type") or "offline")
    if isinstance(section := experiment.get("budget"), Mapping):
        made.spec["budget"] = section
    if (width := experiment.get("parallel_bandwidth")) is not None:
        made.spec["cluster"] = {"max_concurrent": width}
        made.places["cluster.max_concurrent"] = "parallel_bandwidth"
    if "strategies" in given:
        made.notes.append("strategies stand beside the experiment: its type and budget are not read")
        return
    if kind not in STRATEGIES:
        made.mistakes.append(Mistake("type", f"must be one of {', '.join(STRATEGIES)}", kind, "correct or remove it"))
        made.spec["strategies"], made.broken = [{"kind": "grid"}], {*made.broken, "strategies"}
        return
    trials = {} if kind == "grid" else {"trials": _budget(experiment)}
    made.spec["strategies"] = [{**STRATEGIES[kind], **trials}]
    made.places["strategies.0.trials"] = "observation_budget"
    if kind == "offline":
        made.notes.append("SigOpt's optimizer is a Gaussian process, by Optuna's sampler gp")


def _budget(experiment: Mapping[str, Any]) -> Any:
    """The number of trials; `budget` is its newer name, unless that is the section of a spec."""
    newer = experiment.get("budget")
    return experiment.get("observation_budget", None if isinstance(newer, Mapping) else newer)


SIGOPT = ForeignFormat("an experiment of SigOpt", SIGOPT_KEYS, _recognises, _translate)
