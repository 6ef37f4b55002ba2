"""Mistakes of a search space are refused at their path."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from tuning.space import Space

pytestmark = pytest.mark.unit


def parse(text: str) -> Space:
    return Space.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "path", "rule"),
    [
        ("learning_rate: {loguniform: [0, 1e-3]}", "learning_rate.loguniform.0", "greater than 0"),
        ("warmup_steps: {logint: [0, 5]}", "warmup_steps.logint.0", "greater than 0"),
        ("weight_decay: {uniform: [0.3, 0.1]}", "weight_decay.uniform", "low must be less than high"),
        ("weight_decay: {uniform: [0.3, 0.3]}", "weight_decay.uniform", "low must be less than high"),
        ("weight_decay: {uniform: [low, 0.3]}", "weight_decay.uniform.0", "valid number"),
        ("weight_decay: {uniform: [0, .inf]}", "weight_decay.uniform.1", "finite"),
        ("weight_decay: {uniform: [true, 2]}", "weight_decay.uniform.0", "must be a number"),
        ("weight_decay: {uniform: 0.3}", "weight_decay.uniform", "tuple"),
        ("weight_decay: {uniform: [0, 0.3], step: 0}", "weight_decay.step", "greater than 0"),
        ("weight_decay: {uniform: [0, 0.3], step: 0.4}", "weight_decay.step", "at most high - low = 0.3"),
        ("weight_decay: {uniform: [0, 0.3], stp: 0.1}", "weight_decay.stp", "not permitted"),
        ("weight_decay: {unifrm: [0, 0.3]}", "weight_decay", "exactly one of the keys uniform"),
        ("weight_decay: {uniform: [0, 0.3], choice: [1]}", "weight_decay", "exactly one of the keys uniform"),
        ("weight_decay: [0, 0.3]", "weight_decay", "{choice: [...]}"),
        ("warmup_steps: {int: [0.5, 5]}", "warmup_steps.int.0", "valid integer"),
        ("warmup_steps: {int: [0, 5], step: 1.5}", "warmup_steps.step", "valid integer"),
        ("optim: {choice: []}", "optim.choice", "at least one value"),
        ("optim: {choice: [sgd, sgd]}", "optim.choice", "'sgd' stands twice"),
        ("optim: {choice: [[sgd]]}", "optim.choice.0", "must be a number, a text, true or false"),
    ],
)
def test_a_malformed_dimension_is_refused_at_its_path(text: str, path: str, rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(text)
    (detail,) = caught.value.errors()
    assert ".".join(map(str, detail["loc"])) == path
    assert rule in detail["msg"]


def test_all_mistakes_of_a_space_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        parse("{learning_rate: {loguniform: [0, 1]}, optim: {choice: []}, weight_decay: {uniform: [1, 0]}}")
    assert caught.value.error_count() == 3


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("learning_rte: 1e-4", "learning_rte", "did you mean learning_rate?"),
        ("learning_rate: {uniform: [0, 0.1]}", "learning_rate.uniform.0", "0.0: learning_rate must be greater than 0"),
        ("learning_rate: -1", "learning_rate", "-1: learning_rate must be greater than 0"),
        ("weight_decay: {choice: [0.1, 1.5]}", "weight_decay.choice.1", "1.5: weight_decay must be at most 1"),
        ("optim: {choice: [sgd, adam]}", "optim.choice.1", "'adam': optim must be one of adamw_torch"),
        ("lr_scheduler_type: {uniform: [0, 1]}", "lr_scheduler_type.uniform", "write {choice: [...]} of linear"),
        ("warmup_steps: {uniform: [0, 9]}", "warmup_steps.uniform", "write int: [low, high]"),
        ("warmup_steps: {loguniform: [1, 9]}", "warmup_steps.loguniform", "write logint: [low, high]"),
        ("{warmup_steps: 5, warmup_ratio: 0.1}", "warmup_ratio", "both set the warm-up"),
        ("num_train_epochs: {int: [2, 5]}", "num_train_epochs.int.1", "at most the trial's full budget, epochs: 4"),
    ],
)
def test_what_the_tunables_forbid_is_refused_at_its_path(text: str, path: str, words: str) -> None:
    ((found, message),) = parse(text).refusals(epochs=4)
    assert found == path
    assert words in message
