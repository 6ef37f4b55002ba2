"""The import paths that users have go on working: in scripts, notebooks, trainables of their own and plug-ins."""

from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tuning.testing.simulated_ray import simulated_ray

ROOT = Path(__file__).parents[2]
# What papers, error messages and examples tell users to import, by module.
PUBLIC = {
    "tunefleet": (
        "Comparison", "ExperimentOutcome", "ExperimentSpec", "InputError", "SpecError", "StudyOutcome", "TrialOutcome",
        "UnknownExperiment", "compare", "compare_across", "estimate", "experiments", "extend", "hyperparameter_search",
        "install", "load_outcome", "load_spec", "report", "run", "train_final",
    ),
    "tuning": (
        "Comparison", "ExperimentSpec", "SpecError", "compare", "extend_experiment", "hyperparameter_search", "install",
        "load_spec", "run_experiment",
    ),
    "tuning.space": ("Space",),
    "tuning.strategies": ("Plan", "Strategy"),
    "tuning.testing": ("StorageContract", "StoreContract", "StrategyContract", "TaskContract"),
    "tuning.comparison": ("Comparison", "compare"),
    "tuning.outcome": ("ExperimentOutcome", "StudyOutcome", "TrialOutcome"),
    "trainables": ("report", "restored_checkpoint", "step_done"),
    "trainables.spec": ("FineTuneSpec", "Objective"),
    "trainables.tasks": ("Task",),
    "trainables.training": ("Evaluation", "Training"),
    "trainables.learning_curve": ("LearningCurve",),
    "cluster": ("ClusterSpec",),
    "cluster.session": ("connect",),
}  # fmt: skip
CURVE: dict[str, Any] = {
    "name": "paths",
    "trainable": "learning_curve",
    "task": "reviews",
    "epochs": 2,
    "space": {"learning_rate": {"loguniform": [1e-4, 1e-2]}},
    "strategies": [{"kind": "random", "trials": 2}],
}


@pytest.mark.unit
@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_has_its_names(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if getattr(found, name, None) is None] == []


@pytest.mark.unit
def test_the_command_and_the_group_of_strategies_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["tunefleet"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    assert "tunefleet.strategies" in project["entry-points"]
    assert list(entry_points(group="tunefleet.strategies")) is not None


@pytest.mark.tune
def test_the_functions_of_tuning_run_an_experiment(tmp_path: Path) -> None:
    from tuning import compare, load_spec, run_experiment

    spec = load_spec(CURVE, [f"cluster.storage={tmp_path}"])
    with simulated_ray():
        outcome = run_experiment(spec, progress=False)
    assert [len(study.trials) for study in outcome.studies] == [2]
    assert "random" in [row.strategy for row in compare(outcome).rows]


@pytest.mark.tune
def test_the_functions_of_tunefleet_run_an_experiment(tmp_path: Path) -> None:
    import tunefleet

    with simulated_ray():
        tunefleet.run(CURVE, {"cluster.storage": str(tmp_path)})
    outcome = tunefleet.load_outcome(str(tmp_path / "paths"))
    assert len(outcome.to_dataframe()) == 2
    assert tunefleet.compare(outcome).best_params
