"""Computes what a user's `hp_space(trial)` function returns for the values that it suggests.

A search proposes the values that the function suggests by name (`suggest_float("log_lr", -6, -4)`). They are the
trial's params, and are recorded and perturbed as such. The trainable gets what the function returns for them
(`{"learning_rate": 10**log_lr}`), by replay: the function is called again with a trial that gives the same answers.
So computed values, lists and branches work. Imports neither Optuna nor Ray.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

from trainables.errors import InputError, nearest
from trainables.spec import SHIPPED, FineTuneSpec, Params, Value
from trainables.user_trainer.suggesting_trial import PLAIN, SUGGESTED, Answer, SuggestingTrial, replay_answers

HpSpace: TypeAlias = Callable[[Any], Any]


def call_with_trial(function: HpSpace, answer: Answer, number: int = 0) -> tuple[SuggestingTrial, Any]:
    """Calls `function` with a trial whose suggestions `answer` answers; returns the trial and the result.

    Raises:
        InputError: the function raised an error; names the values that it had got.
    """
    trial = SuggestingTrial(answer, number)
    try:
        return trial, function(trial)
    except InputError:
        raise
    except Exception as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in trial.params.items()) or "nothing asked yet"
        name = getattr(function, "__name__", repr(function))
        rule = f"raises {type(error).__name__}: {error} (with {shown})"
        raise InputError("space", name, rule, "call it with an optuna.trial.FixedTrial of these values") from error


def call_hp_space(function: HpSpace, params: Params, number: int = 0) -> dict[str, Any]:
    """Returns what `function` returns for the values `params`.

    Raises:
        InputError: see `resolve_hp_space`.
    """
    _, result = call_with_trial(function, replay_answers(params), number)
    return require_mapping(result, function)


def require_mapping(result: Any, function: HpSpace) -> dict[str, Any]:
    """Requires that `function` returned a mapping by name, and copies it to a dictionary.

    Raises:
        InputError: it returned something else.
    """
    if not isinstance(result, Mapping) or not all(isinstance(name, str) for name in result):
        name = getattr(function, "__name__", repr(function))
        rule = f"must return a dictionary by hyperparameter, not {type(result).__name__}"
        raise InputError(
            "space", name, rule, "such as {'learning_rate': trial.suggest_float('learning_rate', 1e-6, 1e-4)}"
        )
    return dict(result)


def resolve_hp_space(hp_space: str, params: Params) -> dict[str, Any]:
    """Loads the function named `hp_space`, and returns what it returns for the values `params`.

    Raises:
        InputError: the function cannot be loaded, raises an error, suggests a name that `params` lacks, or returns no
            dictionary.
    """
    return call_hp_space(load_hp_space(hp_space), params)


class ResolvedParams(dict[str, Any]):
    """The values that a trainable gets, by name; the attribute `suggested` has those that the search proposed."""

    def __init__(self, values: Mapping[str, Any], suggested: Params) -> None:
        super().__init__(values)
        self.suggested = dict(suggested)


def suggested_params(params: Params) -> Params:
    """The values that the search proposed: `params.suggested` after `resolve_params`, else `params`."""
    return params.suggested if isinstance(params, ResolvedParams) else params


def resolve_params(params: Params, spec: FineTuneSpec) -> ResolvedParams:
    """Returns the values that a trainable gets: `params`, or what `spec.hp_space` returns for them.

    Fixed values that the function does not suggest are added.

    Raises:
        InputError: see `resolve_hp_space`.
    """
    if spec.hp_space is None:
        return ResolvedParams(params, params)
    function, suggested = load_hp_space(spec.hp_space), suggested_values(params)
    trial, result = call_with_trial(function, replay_answers(suggested))
    others = {name: value for name, value in spec.fixed.items() if name not in trial}
    return ResolvedParams({**others, **require_mapping(result, function)}, suggested)


def with_suggested(in_force: Params, suggested: Params) -> dict[str, Value]:
    """Returns the values that a trial reports: those in force and, with an `hp_space` function, those it suggested.

    `suggested_values` reads the latter back, to build the trial again. If the function returns another value for a name
    that it suggested, the name has the value in force, and the suggested one is reported as `suggested.NAME`.
    """
    if not suggested:
        return dict(in_force)
    plain = {name: value for name, value in in_force.items() if value is None or isinstance(value, PLAIN)}
    changed = {name for name, value in suggested.items() if name in plain and plain[name] != value}
    return {**plain, **{SUGGESTED + name if name in changed else name: value for name, value in suggested.items()}}


def suggested_values(params: Params) -> dict[str, Value]:
    """The reported values `params`, with the suggested values restored under their names (see `with_suggested`)."""
    suggested = {name.removeprefix(SUGGESTED): value for name, value in params.items() if name.startswith(SUGGESTED)}
    return {**{name: value for name, value in params.items() if not name.startswith(SUGGESTED)}, **suggested}


@cache
def load_hp_space(name: str) -> Any:
    """Loads the object that `space: package.module:name` or `shipped:PATH` names: a function of a trial, or a mapping.

    Raises:
        InputError: no such module, attribute or file, or it cannot be loaded.
    """
    if name.startswith(SHIPPED):
        from trainables.user_trainer.shipped import load_shipped

        return load_shipped(name)
    module_name, _, attribute = name.partition(":")
    if not (module_name and attribute):
        raise InputError("space", name, "must be package.module:name", "such as my_module:hp_space")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError("space", name, str(error), "is its folder on PYTHONPATH?") from error
    except Exception as error:
        rule = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise InputError("space", name, rule, f"try it: python -c 'import {module_name}'") from error
    if (found := getattr(module, attribute, None)) is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise InputError("space", name, f"{module_name} has no {attribute}", nearest(attribute, public))
    return found
