"""Compares what an interrupted study tells with what it tells undisturbed: equal but for ids, times and costs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tuning.comparison import compare
from tuning.comparison.text import comparison_json
from tuning.outcome import ExperimentOutcome
from tuning.outcome.tables import outcome_tables
from tuning.report.results import results_json
from tuning.spec.models import ExperimentSpec

TIMES = frozenset({"time", "tested_at"})
COSTS = frozenset(
    {"device_seconds", "study_device_seconds", "wall_seconds", "slot_seconds", "money", "spent", "confirming"}
)
SUMS = frozenset({"busy_device_seconds"})  # of reports, whose costs are compared one by one
REACH = frozenset({"costs", "median", "at_least"})  # what it cost to reach the target
ROUNDING = 1e-6  # seconds


def told(outcome: ExperimentOutcome, spec: ExperimentSpec) -> dict[str, Any]:
    """Returns the output of compare, results and export, with numbers in place of drawn ids."""
    comparison = compare(outcome, spec=spec.model_dump(mode="json"))
    everything = {
        "comparison": json.loads(comparison_json(comparison)),
        "results": json.loads(results_json(outcome)),
        "export": outcome_tables(outcome),
    }
    for row in everything["export"]["trials"]:
        row["lineage"] = json.loads(row["lineage"] or "[]")
    text = json.dumps(everything).replace(str(spec.run_folder), "RUN")
    for study in outcome.studies:
        for trial in study.trials:
            text = text.replace(trial.id, f"trial-{trial.number}")
    plain: dict[str, Any] = json.loads(text)
    return plain


def differences(before: Any, after: Any, *path: str, saving: float = 0.0) -> Iterator[str]:
    """Returns unexpected differences: anything but times and costs, and costs that are lower `after`.

    Args:
        saving: device-seconds that a checkpoint takes. Of a report they are in the cost of the next one by the same
            process; where that one was killed they are in what the study cost alone.
    """
    name, where = (path[-1] if path else ""), ".".join(path)
    if name == "anytime":
        for old, new in zip(before["curves"], after["curves"], strict=True):
            yield from _cheaper(old, new, where)
    elif isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for key in before:
            yield from differences(before[key], after[key], *path, key, saving=saving)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, *path, str(index), saving=saving)
    elif (name in COSTS or _is_cost(path)) and None not in (before, after):
        own = name == "device_seconds" and {"trials", "reports"} & {*path}
        if after < before - (saving if own else 0.0) - ROUNDING:
            yield f"{where}: {before} became {after}"
    elif name not in TIMES | SUMS and before != after:
        yield f"{where}: {before!r} became {after!r}"


def _is_cost(path: Sequence[str]) -> bool:
    """True for what it cost to reach the target, and for what smaller random searches would cost."""
    return bool("reach" in path and REACH & {*path}) or ("expected" in path and "cost" in path)


def _cheaper(before: Any, after: Any, where: str) -> Iterator[str]:
    """Yields what an interruption made cheaper: a score reached at less cost, another best, or an earlier end."""
    for step in after["steps"]:
        reached = _cost(before["steps"], step["score"])
        if reached is None or step["cost"] < reached - ROUNDING:
            yield f"{where}: {step['score']} is reached at {step['cost']}, undisturbed at {reached}"
    if before["steps"][-1]["score"] != after["steps"][-1]["score"]:
        yield f"{where}: another best"
    if after["end"] < before["end"] - ROUNDING:
        yield f"{where}: the study ends at {after['end']}, undisturbed at {before['end']}"


def _cost(steps: Sequence[dict[str, float]], score: float) -> float | None:
    """Returns the cost of the first step at least as good as `score`; of all scores here a higher one is better."""
    return next((step["cost"] for step in steps if step["score"] >= score), None)
