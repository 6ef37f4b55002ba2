"""The trial object that a user's function is given, and what the function returns for a trial's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainables.errors import InputError
from trainables.spec import FineTuneSpec, Params
from trainables.user_trainer.hp_space import (
    call_hp_space,
    resolve_hp_space,
    resolve_params,
    suggested_values,
    with_suggested,
)
from trainables.user_trainer.suggesting_trial import SuggestingTrial

pytestmark = pytest.mark.unit

NAME = "tests.support.own_spaces:conditional"
PARAMS: Params = {"optim": "sgd", "log_lr": -3.0, "momentum": 0.9, "layers": 1, "width0": 64}
RETURNED = {"optim": "sgd", "learning_rate": 1e-3, "model.momentum": 0.9, "model.widths": "64"}


def test_a_named_function_is_called_with_the_values_and_reads_no_others() -> None:
    assert resolve_hp_space(NAME, {**PARAMS, "warmup_steps": 3}) == RETURNED


def test_a_shipped_function_is_called_as_one_of_a_module(tmp_path: Path) -> None:
    from trainables.user_trainer.shipped import ship

    def hp_space(trial: Any) -> dict[str, Any]:
        return {"dims": [trial.suggest_int(f"dim{i}", 1, 9) for i in range(2)]}

    assert resolve_hp_space(ship(hp_space, str(tmp_path), "hp_space"), {"dim0": 3, "dim1": 4}) == {"dims": [3, 4]}


def test_a_trainable_is_given_what_the_function_returns_beside_the_fixed_values_that_it_does_not_ask_for() -> None:
    spec = FineTuneSpec(trainable="learning_curve", task="rte", epochs=1, fixed={"warmup_steps": 3, "width0": 64})
    assert resolve_params({**spec.fixed, **PARAMS}, spec) == {"warmup_steps": 3, **PARAMS}
    with_function = spec.model_copy(update={"hp_space": NAME})
    assert resolve_params({**spec.fixed, **PARAMS}, with_function) == {"warmup_steps": 3, **RETURNED}


def test_a_report_names_what_is_in_force_and_what_it_was_asked_by() -> None:
    told = with_suggested({"learning_rate": 1e-3, "widths": [64], "log_lr": 7.0}, {"log_lr": -3.0})  # type: ignore[dict-item]
    assert told == {"learning_rate": 1e-3, "log_lr": 7.0, "suggested.log_lr": -3.0}
    assert suggested_values(told) == {"learning_rate": 1e-3, "log_lr": -3.0}
    assert with_suggested({"learning_rate": 1e-3}, {}) == {"learning_rate": 1e-3}


def test_a_trainable_is_given_the_same_again_for_what_it_has_reported() -> None:
    spec = FineTuneSpec(
        trainable="learning_curve", task="rte", epochs=1, hp_space="tests.support.own_spaces:conditional"
    )
    params: Params = {"optim": "adamw_torch", "log_lr": -3.0, "weight_decay": 0.2, "layers": 1, "width0": 64}
    first = resolve_params(params, spec)
    assert first["weight_decay"] == pytest.approx(0.1)
    again = resolve_params(with_suggested(first, params), spec)
    assert again == first
    assert again.suggested.items() >= params.items()


def test_the_trial_is_a_mapping_of_what_was_asked_for_and_is_never_pruned() -> None:
    def hp_space(trial: Any) -> dict[str, Any]:
        rate = trial.suggest_float("rate", 0, 1)
        trial.set_user_attr("why", "not")
        trial.report(rate, step=1)
        assert trial.suggest_float("rate", 0, 1) == rate
        assert not trial.should_prune()
        assert "other" not in trial
        return {"rate": trial["rate"], "all": dict(trial), "params": trial.params, "number": trial.number}

    all_of_it = {"rate": 0.5, "all": {"rate": 0.5}, "params": {"rate": 0.5}, "number": 7}
    assert call_hp_space(hp_space, {"rate": 0.5}, number=7) == all_of_it


def test_a_trial_of_values_has_all_of_them_from_the_beginning() -> None:
    trial = SuggestingTrial.of({"layers": 2}, number=3)
    assert (trial["layers"], trial.get("width", 64), trial.params, trial.number) == (2, 64, {"layers": 2}, 3)
    assert trial.suggest_int("layers", 1, 4) == 2


@pytest.mark.parametrize("ask", ["suggest_uniform", "suggest_loguniform"])
def test_older_names_of_optuna_are_answered(ask: str) -> None:
    assert call_hp_space(lambda trial: {"x": getattr(trial, ask)("x", 0.1, 1)}, {"x": 0.5}) == {"x": 0.5}
    assert call_hp_space(lambda trial: {"x": trial.suggest_discrete_uniform("x", 0, 1, 0.5)}, {"x": 0.5}) == {"x": 0.5}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "'optim': is suggested (one of 'adamw_torch', 'sgd') and the trial has no such value"),
        ({"optim": "adam"}, "space.optim: 'adam': is now one of 'adamw_torch', 'sgd', and the trial was given a value"),
        ({**PARAMS, "layers": 2}, "'width1': is suggested (int from 64 to 256, logarithmic)"),
        ({**PARAMS, "layers": 1.5}, "space.layers: 1.5: is now int from 1 to 2"),
    ],
)
def test_a_function_that_has_changed_is_told_with_the_name(params: Params, words: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_hp_space(NAME, params)
    assert words in str(caught.value)


def test_what_a_function_raises_is_told_with_what_it_had_been_given() -> None:
    with pytest.raises(InputError, match=r"raises ZeroDivisionError: .* \(with x=0.0\)"):
        call_hp_space(lambda trial: {"x": 1 / trial.suggest_float("x", 0, 1)}, {"x": 0.0})
