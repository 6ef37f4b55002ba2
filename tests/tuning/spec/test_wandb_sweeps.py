"""Configurations of W&B sweeps, run as they are: what becomes of them, and mistakes by the names that users typed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuning.space import Space
from tuning.spec.file import dump, read_source
from tuning.spec.formats.translation import tunable_for
from tuning.spec.loading import load_spec, translation_lines
from tuning.spec.mistakes import SpecError
from tuning.strategies import find_strategies

pytestmark = pytest.mark.unit

# As W&B's documentation has them, with the names that Trainer scripts have.
SWEEP: Mapping[str, Any] = {
    "program": "train.py",
    "method": "random",
    "metric": {"name": "eval/accuracy", "goal": "maximize"},
    "run_cap": 6,
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3},
        "batch_size": {"values": [16, 32]},
        "weight_decay": {"min": 0.0, "max": 0.3},
        "epochs": {"value": 3},
    },
}
BESIDE = ("task=reviews",)


def sweep(**changed: Any) -> dict[str, Any]:
    """Returns the sweep with these keys, without those that are None; parameters are added to its own."""
    parameters = {**SWEEP["parameters"], **(changed.pop("parameters", None) or {})}
    merged = {**copy.deepcopy(dict(SWEEP)), "parameters": parameters, **changed}
    merged["parameters"] = {name: one for name, one in merged["parameters"].items() if one is not None}
    return {key: value for key, value in merged.items() if value is not None}


def mistakes(raw: Mapping[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(raw, (*BESIDE, *overrides))
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_sweep_file_is_an_experiment_of_its_name_space_and_strategy(tmp_path: Path) -> None:
    file = tmp_path / "lr-sweep.yaml"
    file.write_text(dump(SWEEP))
    spec = load_spec(file, BESIDE)
    assert spec.name == "lr-sweep"
    assert spec.epochs == 3
    assert (spec.objective.metric, spec.objective.mode) == ("accuracy", "max")  # type: ignore[union-attr]
    assert spec.space == Space.model_validate(
        {
            "learning_rate": {"loguniform": [1e-5, 1e-3]},
            "per_device_train_batch_size": {"choice": [16, 32]},
            "weight_decay": {"uniform": [0, 0.3]},
        }
    )
    assert [one.model_dump(exclude_defaults=True) for one in spec.strategies] == [{"trials": 6}]
    assert [one.kind for one in spec.strategies] == ["random"]


def test_what_was_read_how_is_said() -> None:
    lines = translation_lines(sweep(metric={"name": "val_acc", "goal": "maximize", "target": 0.9}), BESIDE)
    assert lines[0] == "read as a W&B sweep:"
    said = "\n".join(lines)
    for part in (
        "parameters.lr is learning_rate",
        "parameters.batch_size is per_device_train_batch_size",
        "val_acc is accuracy, on the validation split",
        "metric.target: 0.9 ends nothing here",
        "program is not run",
    ):
        assert part in said
    assert translation_lines("quickstart") == []


def test_hyperband_is_asha_with_rungs_counted_in_reports() -> None:
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    spec = load_spec(sweep(early_terminate=early), (*BESIDE, "report_every_epochs=0.5"))
    (strategy,) = spec.strategies
    assert strategy.kind == "random_asha"
    assert strategy.model_dump(include={"trials", "grace_epochs", "reduction_factor"}) == {
        "trials": 6,
        "grace_epochs": 1.0,
        "reduction_factor": 2.0,
    }
    last = {"type": "hyperband", "max_iter": 27, "s": 3}
    translated = read_source(sweep(early_terminate=last), BESIDE).raw["strategies"][0]
    assert (translated["grace_epochs"], translated["reduction_factor"]) == (1, 3.0)


def test_bayes_is_a_gaussian_process_of_optuna() -> None:
    raw = read_source(sweep(method="bayes"), BESIDE).raw
    assert raw["strategies"] == [{"kind": "optuna", "sampler": "gp", "trials": 6}]
    early = {"type": "hyperband", "min_iter": 1}
    raw = read_source(sweep(method="bayes", early_terminate=early), BESIDE).raw
    assert raw["strategies"] == [
        {"kind": "optuna", "sampler": "gp", "trials": 6, "pruner": "asha", "grace_epochs": 1.0, "reduction_factor": 3.0}
    ]
    (strategy,) = load_spec(sweep(method="bayes", early_terminate=early), BESIDE).strategies
    assert strategy.kind == "optuna"


def test_a_grid_has_every_value_of_its_lists_and_whole_numbers() -> None:
    grid = {"lr": {"values": [1e-5, 1e-4]}, "weight_decay": None, "warmup_steps": {"min": 0, "max": 4}}
    spec = load_spec(sweep(method="grid", run_cap=None, parameters=grid), BESIDE)
    (strategy,) = spec.strategies
    assert strategy.planned_trials(spec.space_of(strategy)) == 2 * 2 * 5
    seeds = load_spec(sweep(method="grid", run_cap=None, parameters={**grid, "seed": {"values": [1, 2]}}), BESIDE)
    assert seeds.seeds == (1, 2)


def test_overrides_of_the_sweeps_own_keys_change_it_and_others_the_spec() -> None:
    spec = load_spec(SWEEP, (*BESIDE, "run_cap=9", "parameters.lr.max=1e-4", "epochs=2", "strategies.0.label=mine"))
    assert spec.strategies[0].model_dump(include={"trials", "label"}) == {"trials": 9, "label": "mine"}
    assert spec.space.root["learning_rate"].model_dump(exclude_defaults=True) == {"loguniform": (1e-5, 1e-4)}
    assert spec.epochs == 2


def test_a_spec_beside_the_sweep_says_what_is_trained(tmp_path: Path) -> None:
    beside = {
        "task": "reviews", "epochs": 5, "name": "other", "fixed": {"adam_beta1": 0.95, "weight_decay": 0.1},
        "space": {"learning_rate": 1e-4}, "strategies": [{"kind": "grid"}],
    }  # fmt: skip
    file = tmp_path / "training.yaml"
    file.write_text(dump(beside))
    spec = load_spec(sweep(name="my sweep!", parameters={"epochs": None}), (f"base={file}",))
    assert (spec.name, spec.task, spec.epochs, len(spec.strategies)) == ("my-sweep", "reviews", 5, 1)
    assert spec.fixed == {"adam_beta1": 0.95}  # the sweep searches the other
    assert load_spec({**SWEEP, "base": "quickstart"}).model == load_spec("quickstart").model
    assert load_spec({**SWEEP, "task": "reviews"}).task == "reviews"  # or in the file itself


def test_strategies_beside_the_sweep_replace_its_own() -> None:
    spec = load_spec(SWEEP, (*BESIDE, "strategies=[{kind: pbt, population: 4}]"))
    assert [one.kind for one in spec.strategies] == ["pbt"]


def test_a_trainable_of_ones_own_is_given_the_sweeps_own_names() -> None:
    own = ("trainable=tests.support.own_trainables:plain", "epochs=3")
    raw = read_source(sweep(metric={"name": "val/acc", "goal": "maximize"}), own).raw
    assert list(raw["space"]) == ["lr", "batch_size", "weight_decay"]
    assert raw["fixed"] == {"epochs": 3}
    assert raw["objective"] == {"metric": "val/acc", "mode": "max"}


def test_what_a_sweep_cannot_say_is_said_to_be_missing() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(sweep(parameters={"epochs": None}))
    told = {mistake.path: mistake.next_step for mistake in caught.value.mistakes}
    assert told.keys() == {"task", "epochs"}
    assert told["task"].startswith("add task=..., data and model on the command line")
    assert "base=experiment.yaml" in told["epochs"]
    assert "(a W&B sweep)" in str(caught.value)


# Each: what is changed in the sweep, and the mistake that it has to name.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "normal": (
        {"parameters": {"wd": {"distribution": "normal", "mu": 0.1, "sigma": 0.05}, "weight_decay": None}},
        "parameters.wd: 'normal': has no bounds; write {distribution: uniform, min: 0, max: 0.2}",
    ),
    "log_normal": (
        {"parameters": {"lr": {"distribution": "log_normal", "mu": 0, "sigma": 1}}},
        "parameters.lr: 'log_normal': has no bounds; write {distribution: log_uniform_values, min: 0.1353, max: 7.389}",
    ),
    "q_normal": (
        {"parameters": {"lr": {"distribution": "q_normal", "q": 2}}},
        "parameters.lr: 'q_normal': has no bounds; write {distribution: q_uniform, min: -2, max: 2, q: 2}",
    ),
    "q_log_normal": ({"parameters": {"lr": {"distribution": "q_log_normal"}}}, "distribution: q_log_uniform_values"),
    "beta": ({"parameters": {"lr": {"distribution": "beta"}}}, "min: 0.0, max: 1.0}"),
    "q_beta": (
        {"parameters": {"lr": {"distribution": "q_beta"}}},
        "distribution: q_uniform, min: 0.0, max: 1.0, q: 1}",
    ),
    "probabilities": (
        {"parameters": {"batch_size": {"values": [8, 16], "probabilities": [0.9, 0.1]}}},
        "values with probabilities are not drawn here",
    ),
    "no such distribution": (
        {"parameters": {"lr": {"distribution": "loguniform", "min": 1, "max": 2}}},
        "parameters.lr: 'loguniform': no distribution of a sweep; did you mean log_uniform?",
    ),
    "no values": ({"parameters": {"lr": {"max": 1}}}, "gives neither value, values nor min and max"),
    "no mapping": ({"parameters": {"lr": 3}}, "parameters.lr: 3: a parameter of a sweep is a mapping"),
    "a value that is wrong": (
        {"parameters": {"batch_size": {"values": [16, 16.5]}}},
        "parameters.batch_size.values.1: 16.5",
    ),
    "a bound that is wrong": (
        {"parameters": {"lr": {"min": 0.1, "max": 2.0}}},
        "parameters.lr.max: 2.0: learning_rate",
    ),
    "several meanings": (
        {"parameters": {"dropout": {"min": 0.0, "max": 0.3}}},
        "parameters.dropout: dropout may mean several hyperparameters; write its own name: model.hidden_dropout_prob",
    ),
    "twice": (
        {"parameters": {"learning_rate": {"value": 0.1}}},
        "parameters.learning_rate: parameters.lr sets learning_rate, too; keep one of the two",
    ),
    "no hyperparameter": ({"parameters": {"hidden_size_x": {"values": [1, 2]}}}, "parameters.hidden_size_x: nothing"),
    "a constant that is none": ({"parameters": {"dataset": {"value": "imdb"}}}, "parameters.dataset: 'imdb': nothing"),
    "several models": ({"parameters": {"model_name": {"values": ["a", "b"]}}}, "lists several models"),
    "a seed": (
        {"parameters": {"seed": {"values": [1, 2]}}},
        "parameters.seed: a seed is no hyperparameter; write seeds=[1, 2]",
    ),
    "no method": ({"method": None}, "method: is missing; add one of grid, random, bayes"),
    "an unknown method": (
        {"method": "baies"},
        "method: 'baies': must be one of grid, random, bayes; did you mean bayes?",
    ),
    "a scheduler of one's own": (
        {"method": "custom", "scheduler": {"engine": "optuna"}},
        "method: 'custom': a scheduler of one's own (optuna) is not read",
    ),
    "bayes without a metric": (
        {"method": "bayes", "metric": None},
        "metric: is missing, and method: bayes learns from it",
    ),
    "several metrics": ({"metric": None, "metrics": [{"name": "a"}, {"name": "b"}]}, "several objectives"),
    "a metric without a name": ({"metric": {"goal": "maximize"}}, "metric: {goal: 'maximize'}: must have a name"),
    "a goal": ({"metric": {"name": "accuracy", "goal": "max"}}, "metric.goal: 'max': must be minimize or maximize"),
    "W&B's default goal": (
        {"metric": {"name": "accuracy"}},
        "metric.goal: 'min': the best accuracy is the largest, so the worst trial would be chosen",
    ),
    "a training metric": ({"metric": {"name": "train/loss"}}, "metric.name: 'train/loss': is of the training split"),
    "a test metric": ({"metric": {"name": "test_loss"}}, "metric.name: 'test_loss': is of the test split"),
    "no such metric": ({"metric": {"name": "val_f1x", "goal": "maximize"}}, "metric.name: 'f1x': is not reported"),
    "no end": ({"run_cap": None}, "run_cap: null: nothing would ever end the study"),
    "a range in a grid": ({"method": "grid", "run_cap": None}, "parameters.lr: a grid lists values"),
    "a capped grid": (
        {"method": "grid", "run_cap": 1, "parameters": {"lr": {"values": [0.1, 0.2]}, "weight_decay": None}},
        "run_cap: 1: the grid has 4 combinations, and trains all",
    ),
    "a stopped grid": (
        {
            "method": "grid",
            "run_cap": None,
            "early_terminate": {"type": "hyperband", "min_iter": 1},
            "parameters": {"lr": {"values": [0.1, 0.2]}, "weight_decay": None},
        },
        "early_terminate: a grid is trained to its end here",
    ),
    "another stopping": ({"early_terminate": {"type": "median"}}, "early_terminate.type: 'median': must be hyperband"),
    "no first band": ({"early_terminate": {"type": "hyperband"}}, "gives neither min_iter nor max_iter with s"),
    "a late band": (
        {"early_terminate": {"type": "hyperband", "min_iter": 9}},
        "early_terminate.min_iter: 9 must be at",
    ),
}


@pytest.mark.parametrize(("changed", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake_has_the_name_that_its_user_typed_and_is_told_once(changed: dict[str, Any], words: str) -> None:
    found = mistakes(sweep(**copy.deepcopy(changed)))
    assert [one for one in found if words in one], found
    assert len(found) <= 2, found


def test_all_mistakes_are_told_together() -> None:
    raw = sweep(method="baies", parameters={"lr": {"distribution": "normal"}, "batch_size": {"values": [0.5]}})
    assert len(mistakes(raw, "cluster.cpus_per_trial=-1")) == 4


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("learning_rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("optimizer.lr", "learning_rate"),
        ("model.hidden_dropout_prob", "model.hidden_dropout_prob"),
        ("batch_size", "per_device_train_batch_size"),
        ("epochs", "num_train_epochs"),
        ("wd", "weight_decay"),
        ("max_length", "data.max_length"),
        ("warmup", ("warmup_ratio", "warmup_steps")),
        ("nothing_known", None),
    ],
)
def test_a_name_is_mapped_where_it_can_mean_one_thing(name: str, meant: object) -> None:
    assert tunable_for(name) == meant


def test_names_of_strategies_in_translations_are_strategies() -> None:
    assert {"random", "random_asha", "grid", "wandb_agent", "wandb_sweep"} <= find_strategies().keys()
