"""Experiments in SigOpt's format: what becomes of them, and every mistake by the name that its user typed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuning.space import Space
from tuning.spec.file import dump, read_source
from tuning.spec.loading import load_spec, translation_lines
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit

EXPERIMENT: Mapping[str, Any] = {
    "name": "Reviews, first try",
    "type": "random",
    "parameters": [
        {"name": "lr", "type": "double", "bounds": {"min": 1e-5, "max": 1e-3}, "transformation": "log"},
        {"name": "warmup_steps", "type": "int", "bounds": {"min": 0, "max": 100}},
        {"name": "batch_size", "type": "int", "grid": [16, 32]},
        {"name": "optim", "type": "categorical", "categorical_values": [{"name": "adamw_torch"}, "sgd"]},
    ],
    "metrics": [
        {"name": "val_acc", "objective": "maximize", "strategy": "optimize"},
        {"name": "loss", "objective": "minimize", "strategy": "store"},
    ],
    "observation_budget": 12,
    "parallel_bandwidth": 2,
}
BESIDE = ("task=reviews", "epochs=3")


def experiment(**changed: Any) -> dict[str, Any]:
    merged = {**copy.deepcopy(dict(EXPERIMENT)), **changed}
    return {key: value for key, value in merged.items() if value is not None}


def with_parameter(**parameter: Any) -> dict[str, Any]:
    return experiment(parameters=[{"name": "weight_decay", "type": "double", **parameter}])


def test_an_experiment_is_read_with_its_names_bounds_and_budget(tmp_path: Path) -> None:
    file = tmp_path / "sigopt.yaml"
    file.write_text(dump(EXPERIMENT))
    spec = load_spec(file, BESIDE)
    assert spec.name == "Reviews--first-try"
    assert spec.space == Space.model_validate(
        {
            "learning_rate": {"loguniform": [1e-5, 1e-3]},
            "warmup_steps": {"int": [0, 100]},
            "per_device_train_batch_size": {"choice": [16, 32]},
            "optim": {"choice": ["adamw_torch", "sgd"]},
        }
    )
    assert (spec.objective.metric, spec.objective.mode) == ("accuracy", "max")  # type: ignore[union-attr]
    assert spec.cluster.max_concurrent == 2
    assert [(one.kind, one.model_dump()["trials"]) for one in spec.strategies] == [("random", 12)]
    assert translation_lines(file, BESIDE)[0] == "read as an experiment of SigOpt:"


def test_its_optimizer_is_a_gaussian_process_of_optuna() -> None:
    raw = read_source(experiment(type=None), BESIDE).raw
    assert raw["strategies"] == [{"kind": "optuna", "sampler": "gp", "trials": 12}]
    assert load_spec(experiment(type=None), BESIDE).strategies[0].kind == "optuna"
    newer = experiment(type="offline", observation_budget=None, budget=7)
    assert read_source(newer, BESIDE).raw["strategies"][0]["trials"] == 7


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "type": (with_parameter(type="float"), "parameters.0: 'float': weight_decay: type must be one of double, int"),
    "bounds": (with_parameter(), "weight_decay: bounds must have min and max"),
    "order": (with_parameter(bounds={"min": 1, "max": 0}), "weight_decay"),
    "transformation": (with_parameter(bounds={"min": 0, "max": 1}, transformation="exp"), "must be log or none"),
    "no values": (with_parameter(type="categorical"), "categorical_values are missing"),
    "a bound that is wrong": (
        with_parameter(bounds={"min": 0, "max": 3}),
        "parameters.0.bounds.max: 3.0: weight_decay must be",
    ),
    "conditions": (with_parameter(bounds={"min": 0, "max": 1}, conditions={"a": 1}), "parameters.0.conditions"),
    "conditionals": (experiment(conditionals=[{"name": "a"}]), "conditionals: a parameter cannot depend"),
    "constraints": (experiment(linear_constraints=[{"type": "less_than"}]), "linear_constraints: no constraints"),
    "two metrics": (experiment(metrics=[{"name": "accuracy"}, {"name": "loss"}]), "several metrics are optimised"),
    "a threshold": (
        experiment(metrics=[{"name": "accuracy", "threshold": 0.5}]),
        "metrics.0: a threshold or a constraint on a metric is not kept",
    ),
    "a direction": (
        experiment(metrics=[{"name": "accuracy", "objective": "minimize"}]),
        "metrics.0.objective: 'min': the best accuracy is the largest",
    ),
    "an unknown type": (experiment(type="bandit"), "type: 'bandit': must be one of offline, random, grid"),
    "no end": (experiment(observation_budget=None), "observation_budget: null: nothing would ever end the study"),
    "a width": (experiment(parallel_bandwidth=0), "parallel_bandwidth: 0"),
}


@pytest.mark.parametrize(("raw", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake_has_the_name_that_its_user_typed(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(raw, BESIDE)
    found = [str(mistake) for mistake in caught.value.mistakes]
    assert [one for one in found if words in one], found
    assert len(found) == 1, found
