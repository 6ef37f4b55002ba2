"""Expands short forms of a spec's values that are unambiguous; for others, an error names the full forms.

`data.text=text` can only mean one column, `strategies=grid` only one strategy; `seeds=3` may mean three seeds or the
seed 3, so it is refused with both. The same for a YAML file as for `key=value`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from trainables.metrics import direction_of
from trainables.spec import TRAININGS
from trainables.tasks import find_tasks
from tuning.spec.known_names import section
from tuning.spec.strategy_forms import written_in_full
from tuning.strategies import Strategy

# Sections whose lack of keys says nothing: a YAML file with `cluster:` and nothing below it.
EMPTY = ("data", "cluster", "wandb", "checkpoint", "space", "fixed", "budget", "points", "priors", "start_from")
# How a field is written as a list: in YAML, which is also what stands behind `=`.
LISTS = {
    "seeds": "[3] for the one seed 3, [0, 1, 2] for three seeds",
    "strategies": "[{kind: grid}, {kind: random, trials: 8}]",
    "text": "[text], or [premise, hypothesis] for a pair",
    "factors": "[0.8, 1.2]",
    "measure": "[latency_ms, parameters]",
    "objectives": "[{metric: accuracy, mode: max}, {metric: latency_ms, mode: min}]",
    "constraints": "[latency_ms <= 20]",
    "points": "[{learning_rate: 2e-5}], or recipes",
    "start_from": "[NAME], or NAME alone",
    "choice": "{choice: [16, 32]}, or 16 alone to hold one value",
    **{kind: f"{{{kind}: [low, high]}}, or a single value bare to hold it" for kind in ("uniform", "loguniform")},
    **{kind: f"{{{kind}: [low, high]}}, or a single value bare to hold it" for kind in ("int", "logint")},
}
# The key of a section that a bare value is most likely to mean.
USUAL = {
    "subset": "train",
    "data": "path",
    "budget": "epochs",
    "cluster": "address",
    "wandb": "mode",
    "checkpoint": "keep_best",
    "confirm": "top",
    "price": "per_device_hour",
}


def expand_short_forms(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `raw` with every unambiguous short form written in full; `raw` itself stays as it is."""
    full = {key: value for key, value in raw.items() if not (value is None and key in EMPTY)}
    if "strategies" in full:
        full["strategies"] = _strategies(full["strategies"])
    if isinstance(measured := full.get("measure"), str):
        full["measure"] = [measured]
    if "objective" in full:
        full["objective"] = _objective(full["objective"], full)
    if isinstance(listed := full.get("objectives"), list | tuple):
        full["objectives"] = [_objective(one, full) for one in listed]
    if isinstance(bounds := full.get("constraints"), str | list | tuple):
        full["constraints"] = [_constraint(one) for one in ([bounds] if isinstance(bounds, str) else bounds)]
    for section_name in ("space", "fixed"):  # null takes a preset's entry out, as in fixed.warmup_ratio=null
        if isinstance(entries := full.get(section_name), Mapping):
            full[section_name] = {name: value for name, value in entries.items() if value is not None}
    if isinstance(data := full.get("data"), Mapping):
        full["data"] = _data(data)
    return full


def _strategies(value: Any) -> Any:
    """Turns one strategy into a list of one, and the name of a kind into a strategy without other keys."""
    listed = [value] if isinstance(value, str) or (isinstance(value, Mapping) and "kind" in value) else value
    if not isinstance(listed, list | tuple):
        return value
    return [{"kind": one} if isinstance(one, str) else one for one in listed]


def _objective(value: Any, spec: Mapping[str, Any]) -> Any:
    """Turns a metric's name into the metric with its direction, if that is known."""
    metric = value.get("metric") if isinstance(value, Mapping) else value
    if not isinstance(metric, str) or (isinstance(value, Mapping) and "mode" in value):
        return value
    mode = _direction(metric, spec)
    return value if mode is None else {**(value if isinstance(value, Mapping) else {"metric": metric}), "mode": mode}


def _constraint(value: Any) -> Any:
    """Turns `latency_ms <= 20` into the metric with its bound."""
    found = re.fullmatch(r"\s*(\S+?)\s*(<=|>=)\s*(\S+)\s*", value) if isinstance(value, str) else None
    if found is None:
        return value
    return {"metric": found[1], "at_most" if found[2] == "<=" else "at_least": found[3]}


def _direction(metric: str, spec: Mapping[str, Any]) -> str | None:
    task = find_tasks().get(str(spec.get("task")))
    if task is not None and metric == task.objective.metric:
        return task.objective.mode
    mode = direction_of(metric)
    if mode is None and task is not None and spec.get("trainable", "finetune") in TRAININGS:
        return None if metric in task.metric_names else "max"  # no metric of the task: refused by its name
    return mode


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    full = {key: value for key, value in data.items() if not (key == "subset" and value is None)}
    if isinstance(full.get("text"), str):
        full["text"] = [full["text"]]
    return full


def suggest_form(loc: Sequence[int | str], kind: str, value: object, model: type[BaseModel]) -> tuple[str, str] | None:
    """The rule and the next step for a value of the wrong form, or None if pydantic's message is as good.

    Args:
        loc: where it stands, below `model`.
        kind: pydantic's name of the error.
        value: what stands there.
    """
    names = [part for part in loc if isinstance(part, str)]
    name = names[-1] if names else ""
    shell = "" if issubclass(model, Strategy) else ".".join(map(str, loc))  # a strategy does not know its position
    if kind in ("tuple_type", "list_type") and loc and loc[-1] == name:
        return "must be a list", _as_list(name, shell, value)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        inner = _section_at(model, loc)
        keys = f" of {', '.join(inner.model_fields)}" if inner is not None else ""
        return f"must be a mapping{keys}", _as_mapping(name, shell, value)
    if kind == "string_type":
        quoted = f"'{value}'" if isinstance(value, int | float) and not isinstance(value, bool) else "'...'"
        return "must be a text", f"put it into quotes: {name}: {quoted}" + (f', or "{shell}={quoted}"' if shell else "")
    return None


def _as_list(name: str, shell: str, value: object) -> str:
    if name == "strategies" and isinstance(value, Mapping):
        meant = [written_in_full({kind: own}) for kind, own in value.items()]
        if meant and (known := [one for one in meant if one is not None]) == meant:
            return f"write strategies: [{', '.join(known)}]"
    example = LISTS.get(name, f"[{value}]")
    if example.startswith("{"):
        return f"write {example}"
    first = example if name == "strategies" else example.partition("]")[0] + "]"
    return f"write {name}: {example}" + (f"; on the command line '{shell}={first}'" if shell else "")


def _as_mapping(name: str, shell: str, value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "constraints":
        return "write metric <= number or metric >= number, such as latency_ms <= 20"
    if name in ("objective", "objectives"):
        metric = value if isinstance(value, str) else "accuracy"
        return f"write objective: {{metric: {metric}, mode: max}}, or mode: min where less is better"
    if name in ("space", "fixed"):
        dimension = "{loguniform: [1e-5, 1e-4]}" if name == "space" else "1e-4"
        return f"such as {name}: {{learning_rate: {dimension}}}"
    if name not in USUAL:
        return "write {key: value}"
    text = isinstance(value, str) and value and name in ("data", "cluster", "wandb")
    example = value if number or text else "..."
    return f"such as {name}: {{{USUAL[name]}: {example}}}" + (f", or {shell}.{USUAL[name]}={example}" if shell else "")


def _section_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in loc:
        if found is None or not isinstance(part, str) or part not in found.model_fields:
            return None
        found = section(found.model_fields[part].annotation)
    return found
