"""Users' own words for what a spec has: short forms, other words for values, keys in another place, large seeds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.support.spec_mistakes import only_mistake
from tests.support.specs import GOOD
from trainables.metrics import direction_of
from trainables.tasks import find_tasks
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit

CSV = "text,label\n" + "".join(f"row {i},{i % 2}\n" for i in range(40))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with one file of data, and a machine without GPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "x.csv").write_text(CSV)


def spec(*overrides: str, **fields: Any) -> ExperimentSpec:
    return load_spec({**copy.deepcopy(dict(GOOD)), **fields}, overrides)


def test_one_column_one_strategy_and_one_metric_need_no_brackets() -> None:
    own = ["task=text_classification", "data.path=x.csv", "data.label=label"]
    assert spec(*own, "data.text=text").data.text == ("text",)
    assert [one.kind for one in spec("strategies=grid").strategies] == ["grid"]
    assert [one.kind for one in spec("strategies={kind: random, trials: 2}").strategies] == ["random"]
    assert [one.kind for one in spec("strategies=[grid, {kind: pbt, population: 2}]").strategies] == ["grid", "pbt"]
    assert spec("objective=f1").objective == spec("objective={metric: f1, mode: max}").objective
    assert spec("objective.metric=loss").objective == spec("objective={metric: loss, mode: min}").objective


def test_a_section_without_keys_says_nothing() -> None:
    empty = dict.fromkeys(("data", "cluster", "wandb", "checkpoint", "budget", "fixed"))
    assert spec(**empty) == spec()
    assert spec("data={subset: null}") == spec()


@pytest.mark.parametrize("task", find_tasks().values(), ids=find_tasks())
def test_the_direction_of_every_metric_of_every_task_is_known(task: Any) -> None:
    assert direction_of(task.objective.metric) == task.objective.mode
    assert direction_of("loss") == "min"
    assert None not in map(direction_of, task.metric_names)


def test_the_direction_of_a_name_that_says_nothing_is_not_guessed() -> None:
    assert [direction_of(name) for name in ("eval_loss", "f1_macro", "val_accuracy")] == ["min", "max", "max"]
    assert direction_of("score") is None
    assert "write objective: {metric: score, mode: max}, or mode: min" in only_mistake(
        "trainable=math:sqrt", "objective=score"
    )


# What is given, and what the only mistake must say.
FORMS: dict[str, tuple[str, str]] = {
    "seeds=3": ("seeds=3", "seeds: 3: must be a list; write seeds: [3] for the one seed 3, [0, 1, 2] for three seeds"),
    "seeds=0,1": ("seeds=0,1", "on the command line 'seeds=[3]'"),
    "a strategy that needs a number": ("strategies=random", "strategies.0.trials: is missing; add it"),
    "strategies=3": ("strategies=3", "write strategies: [{kind: grid}, {kind: random, trials: 8}]"),
    "strategies by kind": ("strategies={grid: {points: 3}}", "strategies: {grid: {points: 3}}: must be a list"),
    "a metric that is none": ("objective=acuracy", "objective.metric: 'acuracy': is not reported for reviews; did you"),
    "a subset": ("data.subset=100", "such as subset: {train: 100}, or data.subset.train=100"),
    "a data file": ("data=x.csv", "such as data: {path: x.csv}, or data.path=x.csv"),
    "an address": ("cluster=auto", "cluster.address=auto"),
    "a mode": ("wandb=offline", "wandb.mode=offline"),
    "confirm": ("confirm=3", "confirm.top=3"),
    "a price": ("budget.price=2", "budget.price.per_device_hour=2"),
    "a space": ("space=learning_rate", "space: {learning_rate: {loguniform: [1e-5, 1e-4]}}"),
    "fixed": ("fixed=3", "fixed: {learning_rate: 1e-4}"),
    "one bound": ("space.learning_rate={loguniform: 1e-4}", "write {loguniform: [low, high]}, or a single value bare"),
    "one choice": ("space.per_device_train_batch_size={choice: 16}", "write {choice: [16, 32]}, or 16 alone"),
    "a call": ("space.learning_rate=loguniform(1e-5, 1e-4)", "is a text; write {loguniform: [1e-5, 1e-4]}"),
    "min and max": ("space.learning_rate={min: 1, max: 2}", "such as {loguniform: [1e-5, 1e-3]}"),
    "no seeds": ("seeds=[]", "seeds: []: must have at least 1 item, not 0"),
    "a budget in words": ("budget=1h", "such as budget: {epochs: ...}, or budget.epochs=..."),
    "one factor": ("strategies.2.factors=1.2", "strategies.2.factors: 1.2: must be a list; write factors: [0.8, 1.2]"),
    "a name of digits": (
        "name=2024",
        "name: 2024: must be a text; put it into quotes: name: '2024', or \"name='2024'\"",
    ),
}


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ("{random: {trials: 4}}", "write {kind: random, trials: 4}"),
        ("{random: 4}", "write {kind: random, trials: 4}"),
        ("{pbt: 4}", "write {kind: pbt, population: 4}"),
        ("{grid: null}", "write {kind: grid}"),
        ("{random: null, trials: 4}", "write {kind: random, trials: 4}"),
        ("{name: random, trials: 4}", "write {kind: random, trials: 4}"),
        ("{type: Random, trials: 4}", "write {kind: random, trials: 4}"),
        ("{Kind: random, trials: 4}", "write {kind: random, trials: 4}"),
        ("{type: tpe}", "write kind in place of type; 'tpe' is none here: hyperopt has TPE"),
        ("{trials: 4}", "add one of custom, defaults, grid, "),
    ],
)
def test_a_strategy_in_another_form_is_reported_as_a_spec_has_it(given: str, step: str) -> None:
    said = only_mistake(f"strategies.0={given}")
    assert said.startswith(f"strategies.0.kind: is missing; {step}")
    if step.startswith("write {"):
        assert spec(f"strategies.0={step.removeprefix('write ')}", "strategies.2.label=other")


def test_strategies_as_a_mapping_are_reported_as_a_list_of_the_same() -> None:
    said = only_mistake("strategies={random: {trials: 4}, pbt: {population: 4}}")
    assert said.endswith("must be a list; write strategies: [{kind: random, trials: 4}, {kind: pbt, population: 4}]")


@pytest.mark.parametrize(("given", "message"), FORMS.values(), ids=FORMS)
def test_a_value_of_the_wrong_form_is_reported_with_the_right_one(given: str, message: str) -> None:
    assert message in only_mistake(given)


def test_the_same_form_is_reported_for_a_yaml_file() -> None:
    space = "{learning_rate: {loguniform: [1e-5, 1e-4]}}"
    Path("mine.yaml").write_text(f"name: a\ntask: reviews\nepochs: 1\nspace: {space}\nstrategies: grid\nseeds: 3\n")
    with pytest.raises(SpecError, match=r"^1 mistake in mine\.yaml:\n  seeds: 3: must be a list; write seeds: \[3\]"):
        load_spec("mine.yaml")


@pytest.mark.parametrize("field", ["seed", "data.seed", "data_order_seed", "head_seed"])
@pytest.mark.parametrize("value", ["20240101123456", "4294967296", "-1", "1.5", "1.0", "true", "'1'", "[1]"])
def test_a_seed_that_no_trial_can_take_is_refused_with_the_range(field: str, value: str) -> None:
    assert only_mistake(f"{field}={value}").startswith(f"{field}: ")
    assert only_mistake(f"{field}={value}").endswith(": must be a whole number from 0 to 4294967295")
    assert only_mistake(f"seeds=[0, {value}]").startswith("seeds.1: ")


def test_the_largest_seed_is_taken_and_its_sum_with_a_search_seed_is_refused() -> None:
    assert spec("seed=4294967295").trial_spec(0).seed == 4294967295
    assert spec("seeds=[4294967295]").trial_spec(4294967295).seed == 4294967295
    sum_too_large = only_mistake("seed=4294967295", "seeds=[0, 1]")
    assert sum_too_large.startswith("seeds.1: 1: with seed: 4294967295 it is more than")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("token_classification", "is not supported; known kinds are"),
        ("token-classification", "is not supported; known kinds are"),
        ("question_answering", "is not supported; known kinds are"),
        ("multi_label_classification", "is not supported; known kinds are"),
        ("image_classification", "is not supported; known kinds are"),
        ("sentiment-analysis", "did you mean text_classification?"),
        ("text-classification", "did you mean text_classification?"),
        ("sst2", "did you mean glue/sst2?"),
        ("regression", "did you mean text_regression?"),
        ("revews", "did you mean reviews?"),
    ],
)
def test_a_kind_of_task_that_there_is_not_is_not_taken_for_a_slip_of_the_pen(task: str, message: str) -> None:
    assert message in only_mistake(f"task={task}")
    assert ("did you mean" in message) is ("did you mean" in only_mistake(f"task={task}"))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("wd", "weight_decay"),
        ("bs", "per_device_train_batch_size"),
        ("batch_size", "per_device_train_batch_size"),
        ("epochs", "num_train_epochs"),
        ("warmup", "warmup_ratio"),
        ("dropout", "model.hidden_dropout_prob"),
        ("max_len", "data.max_length"),
        ("optimizer", "optim"),
        ("learning-rate", "learning_rate"),
    ],
)
def test_other_words_for_a_hyperparameter_are_understood(word: str, name: str) -> None:
    assert f"did you mean {name}" in only_mistake(f"space.{word}=1")
    assert f"did you mean {name}" in only_mistake(f"fixed.{word}=1")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tpe", "hyperopt has TPE"),
        ("ax", "write {kind: optuna, sampler: gp}"),
        ("sobol", "write {kind: optuna, sampler: qmc}"),
        ("bohb", "write {kind: custom, sampler: tpe, stopping: hyperband}"),
        ("hyperband", "random_asha stops"),
        ("asha", "random_asha stops"),
        ("random_search", "did you mean random?"),
        ("population-based-training", "did you mean pbt?"),
        ("population-based-bandits", "did you mean pb2?"),
        ("gird", "did you mean grid?"),
    ],
)
def test_strategies_by_the_names_of_other_libraries_are_reported_with_what_there_is(kind: str, message: str) -> None:
    assert message in only_mistake(f"strategies.0={{kind: {kind}}}")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("trials=3", "write strategies.N.trials"),
        ("population=3", "write strategies.N.population"),
        ("n_trials=3", "write strategies.N.trials"),
        ("max_length=64", "write data.max_length"),
        ("max_len=64", "write data.max_length"),
        ("subset=64", "write data.subset"),
        ("storage=x", "write cluster.storage"),
        ("gpus=1", "write cluster.gpus_per_trial"),
        ("metric=f1", "write objective.metric"),
        ("learning_rate=1e-4", "write space.learning_rate or fixed.learning_rate"),
        ("lr=1e-4", "write space.learning_rate or fixed.learning_rate"),
        ("model_name_or_path=x", "did you mean model?"),
        ("strategies.1.epochs=3", "write epochs at the top level"),
        ("strategies.1.seeds=[3]", "write seeds at the top level"),
        ("strategies.1.n_trials=3", "did you mean trials?"),
        ("strategies.1.lr=3", "write space.learning_rate of it"),
        ("strategies.0.trials=3", "known: informed, label, points, space"),
        ("data.epochs=3", "write epochs at the top level"),
        ("data.lr=3", "write space.learning_rate"),
        ("epochz=3", "did you mean epochs?"),
    ],
)
def test_a_key_in_the_wrong_place_is_reported_with_where_it_belongs(key: str, message: str) -> None:
    said = only_mistake(key)
    assert said.startswith(f"{key.partition('=')[0]}: unknown key; ")
    assert message in said


def test_a_file_that_is_not_there_is_reported_with_the_folder_that_was_looked_in(tmp_path: Path) -> None:
    for source, folder in (("nothing.yaml", tmp_path), ("sub/nothing.yaml", tmp_path / "sub")):
        with pytest.raises(SpecError, match="no such file") as caught:
            load_spec(source)
        assert f"looked in {folder}" in str(caught.value)
    assert f"looked in {tmp_path}" in only_mistake("wandb.key_file=key.txt")
