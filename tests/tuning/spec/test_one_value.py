"""A list or a mapping where one value belongs is one mistake, with what to write in its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.support.spec_mistakes import mistakes
from tests.support.specs import GOOD
from tuning.spec.known_names import section
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec
from tuning.strategies import find_strategies

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


LIST, MAPPING = "is a list, where one value belongs", "is a mapping, where one value belongs"
# What is given, and the only mistake (its value left out).
FORMS: dict[str, tuple[str, str, str]] = {
    "a nested name under fixed": (
        "fixed={model: {hidden_dropout_prob: 0.1}}",
        "fixed.model",
        f"{MAPPING}; write model.hidden_dropout_prob: 0.1",
    ),
    "several nested names under fixed": (
        "fixed={model: {hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0}}",
        "fixed.model",
        f"{MAPPING}; write model.hidden_dropout_prob: 0.1 and model.attention_probs_dropout_prob: 0",
    ),
    "a list under fixed": (
        "fixed={weight_decay: [0.1]}",
        "fixed.weight_decay",
        f"{LIST}; one value is held, such as weight_decay: 0.1; several go under space: {{choice: [...]}}",
    ),
    "a range under fixed": (
        "fixed={weight_decay: {uniform: [0, 0.1]}}",
        "fixed.weight_decay",
        f"{MAPPING}; move it to space, where values are searched",
    ),
    "a nested name under values": (
        "strategies.0={kind: defaults, values: {data: {max_length: 64}}}",
        "strategies.0.values.data",
        f"{MAPPING}; write data.max_length: 64",
    ),
    "a nested name under space": (
        "space.model={hidden_dropout_prob: {uniform: [0, 0.2]}}",
        "space.model",
        "is a mapping of several names; write model.hidden_dropout_prob: {uniform: [0, 0.2]}",
    ),
    "another under space": (
        "space.data={max_length: {choice: [32, 64]}}",
        "space.data",
        "is a mapping of several names; write data.max_length: {choice: [32, 64]}",
    ),
    "a nested name in the space of a strategy": (
        "strategies.1.space={model: {hidden_dropout_prob: 0.1}}",
        "strategies.1.space.model",
        "is a mapping of several names; write model.hidden_dropout_prob: 0.1",
    ),
    "a label in brackets": ("data.label=[label]", "data.label", f"{LIST}; write label: label"),
    "two labels": ("data.label=[a, b]", "data.label", f"{LIST}; it is one column"),
    "two models": ("model=[minilm, bert]", "model", f"{LIST}; an experiment has one model"),
    "two tasks": ("task=[rte, imdb]", "task", f"{LIST}; an experiment has one task"),
    "two files": ("data.train=[a.csv, b.csv]", "data.train", f"{LIST}; it is one file; put several into a folder"),
    "two paths": ("data.path=[a.csv, b.csv]", "data.path", f"{LIST}; it is one folder or one file"),
    "a number in brackets": ("epochs=[3]", "epochs", f"{LIST}; write epochs: 3"),
    "two numbers": ("epochs=[3, 4]", "epochs", f"{LIST}; write one of them, such as epochs: 3"),
    "a mapping for a text": ("model={name: minilm}", "model", f"{MAPPING}; write model: VALUE"),
    "a list for a text in a list": ("data.text=[[a, b]]", "data.text.0", f"{LIST}; write one value there"),
    "a number of a strategy": ("strategies.1.trials=[3]", "strategies.1.trials", f"{LIST}; write trials: 3"),
}


@pytest.mark.parametrize(("given", "path", "message"), FORMS.values(), ids=FORMS)
def test_more_than_one_value_is_reported_with_what_to_write(given: str, path: str, message: str) -> None:
    (said,) = mistakes(given)
    assert said.startswith(f"{path}: ")
    assert message in said


def test_each_is_one_mistake_beside_others() -> None:
    said = mistakes("fixed={model: {hidden_dropout_prob: 0.1}, data: {max_length: 64}, weight_decay: [0.1]}")
    assert [line.split(":")[0] for line in said] == ["fixed.model", "fixed.data", "fixed.weight_decay"]


def _single(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The paths of all fields that hold one value."""
    for name, field in model.model_fields.items():
        if str(field.annotation).startswith("tuple"):
            continue
        if (inner := section(field.annotation)) is not None:
            yield from _single(inner, f"{prefix}{name}.")
        elif not any(word in str(field.annotation) for word in ("tuple", "dict", "Space")):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("value", ["[1]", "[a, b]", "[]", "{a: 1}", "{}"])
def test_for_every_field_it_is_one_mistake_with_its_own_path(value: str) -> None:
    paths = [*_single(ExperimentSpec), *(f"strategies.1.{name}" for name in _single(find_strategies()["random_asha"]))]
    assert len(paths) > 60
    for path in paths:
        said = [line for line in mistakes(f"{path}={value}") if line.startswith(path)]
        assert len(said) == 1, said
        assert said[0].startswith(f"{path}: "), said
        assert "quotes" not in said[0], said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cluster.heartbeat_seconds=0", "cluster.heartbeat_seconds: 0: must be greater than or equal to 1 or 'auto'"),
        ("checkpoint.every_epochs=0", "checkpoint.every_epochs: 0: must be greater than 0 or 'auto'"),
        ("checkpoint.every_epochs=x", "checkpoint.every_epochs: 'x': must be a valid number"),
    ],
)
def test_a_value_that_no_member_of_a_union_takes_is_one_mistake(given: str, message: str) -> None:
    (said,) = mistakes(given)
    assert said.startswith(message)
    assert said.endswith("or 'auto'")


def test_files_that_are_named_as_the_step_says_are_one_split(tmp_path: Path) -> None:
    (step,) = mistakes("data.train=[a.csv, b.csv]")
    for name in ("train-00000-of-00002.csv", "train-00001-of-00002.csv"):
        assert name in step
        (tmp_path / name).write_text("text,label\n" + "".join(f"{name} {i},{i % 2}\n" for i in range(40)))
    own = {"task": "text_classification", "data": {"path": str(tmp_path), "text": ["text"], "label": "label"}}
    assert load_spec({**copy.deepcopy(dict(GOOD)), **own}).data.path == str(tmp_path)
