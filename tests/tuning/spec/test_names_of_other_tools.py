"""Names of TrainingArguments and of other tools, which a spec has under other keys."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.support.spec_mistakes import only_mistake
from tests.support.specs import GOOD
from trainables.tunables import TUNABLES
from tuning.spec.known_names import ELSEWHERE, KEYS, suggest_hyperparameter, suggest_key
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec
from tuning.tracking.spec import WandbSpec

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without anything, and a machine without GPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def spec(*overrides: str, **fields: Any) -> ExperimentSpec:
    return load_spec({**copy.deepcopy(dict(GOOD)), **fields}, overrides)


# A name of TrainingArguments or of another tool, and the hint for it at the top level.
OTHER_TOOLS: dict[str, str] = {
    "batch_size": "write space.per_device_train_batch_size or fixed.per_device_train_batch_size",
    "train_batch_size": "write space.per_device_train_batch_size or fixed.per_device_train_batch_size",
    "per_device_eval_batch_size": "did you mean eval_batch_size?",
    "patience": "poor trials are stopped early by the strategies random_asha and hyperopt_asha",
    "early_stopping_patience": "poor trials are stopped early by the strategies random_asha and hyperopt_asha",
    "gradient_checkpointing": "write fixed.model.gradient_checkpointing",
    "eval_strategy": "did you mean report_every_epochs?",
    "save_strategy": "write checkpoint.every_epochs",
    "save_total_limit": "write checkpoint.keep_best",
    "fp16": "did you mean precision?",
    "bf16": "did you mean precision?",
    "metric_for_best_model": "write objective.metric",
    "greater_is_better": "write objective.mode",
    "report_to": "write wandb.mode",
    "num_labels": "remove it: the classes are those of the label column",
    "push_to_hub": "remove it: `tunefleet train-final` has the option --push-to-hub",
    "learning_rat": "write space.learning_rate or fixed.learning_rate",
    "metrics": "write objective.metric",
}


@pytest.mark.parametrize(("key", "hint"), OTHER_TOOLS.items(), ids=OTHER_TOOLS)
def test_a_name_of_another_tool_is_no_slip_for_a_key_that_looks_like_it(key: str, hint: str) -> None:
    assert only_mistake(f"{key}=2").startswith(f"{key}: unknown key; {hint}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("fp16", "write precision at the top level"),
        ("bf16", "write precision at the top level"),
        ("seed", "write seed at the top level"),
        ("precision", "write precision at the top level"),
        ("model", "write model at the top level"),
        ("max_steps", "write epochs at the top level"),
        ("eval_steps", "write report_every_epochs at the top level"),
        ("per_device_eval_batch_size", "write eval_batch_size at the top level"),
        ("gradient_checkpointing", "write fixed.model.gradient_checkpointing"),
        ("early_stopping_patience", "poor trials are stopped early by the strategies random_asha and hyperopt_asha"),
        ("report_to", "write wandb.mode"),
        ("gpus_per_trial", "write cluster.gpus_per_trial"),
    ],
)
def test_a_setting_under_space_or_fixed_is_reported_with_where_it_belongs(name: str, hint: str) -> None:
    said = f"nothing consumes a hyperparameter '{name}'; {hint}"
    assert only_mistake(f"space.{name}={{choice: [1, 2]}}").startswith(f"space.{name}: {said}")
    assert only_mistake(f"fixed.{name}=2").startswith(f"fixed.{name}: 2: {said}")
    values = {"kind": "defaults", "values": {name: 2}}
    assert only_mistake(strategies=[{"kind": "grid"}, values]).startswith(f"strategies.1.values.{name}: {said}")


def test_no_argument_of_transformers_is_taken_for_a_slip_of_the_pen() -> None:
    from transformers import TrainingArguments

    own = {*TUNABLES, *KEYS, *ELSEWHERE, *ExperimentSpec.model_fields, *WandbSpec.model_fields}
    others = sorted({field.name for field in dataclasses.fields(TrainingArguments)} - own)
    assert len(others) > 50
    for name in others:
        assert suggest_key(name, ExperimentSpec.model_fields, ExperimentSpec).startswith("known: "), name
        assert suggest_hyperparameter(name, ExperimentSpec).startswith("known: "), name


def test_every_key_that_a_hint_names_is_one_of_a_spec() -> None:
    for key, place in KEYS.items():
        if place == "strategies.N.trials":
            continue
        if place.startswith("fixed."):
            assert spec(f"{place}=true").fixed == {place.removeprefix("fixed."): True}
            continue
        with pytest.raises(SpecError) as caught:
            spec(f"{place}={{no: such}}")
        assert f"{place}: unknown key" not in str(caught.value), key


def test_the_hint_for_a_key_in_a_section_or_a_strategy_is_of_that_section() -> None:
    assert only_mistake("objective={metric: f1, mode: max, metric_for_best_model: f1}").endswith("did you mean metric?")
    assert only_mistake("objective={metric: f1, mode: max, report_to: none}").endswith("write wandb.mode")
    assert only_mistake("strategies.1.target=label").endswith("write data.label")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("data.max_length", "nest it: data: {max_length: ...}"),
        ("data.subset.train", "nest it: data: {subset: {train: ...}}"),
        ("cluster.storage", "nest it: cluster: {storage: ...}"),
        ("model.hidden_dropout_prob", "write space.model.hidden_dropout_prob or fixed.model.hidden_dropout_prob"),
    ],
)
def test_a_dotted_key_in_a_file_is_reported_with_how_it_is_nested(key: str, hint: str) -> None:
    assert only_mistake(**{key: 64}) == f"{key}: unknown key; {hint}"
