"""Reads the search spaces that users of `Trainer.hyperparameter_search` have; names and values stay.

A function of a trial with `suggest_*` (Optuna's way), a dictionary of Ray Tune domains or of Optuna distributions, the
`parameters` of a Weights & Biases sweep, our own mapping, or nothing: then the default space of the installed
transformers. A function may also return one of these dictionaries, as the Ray and W&B backends require.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trainables.errors import InputError
from trainables.user_trainer.hp_space import HpSpace, call_with_trial, load_hp_space
from trainables.user_trainer.suggesting_trial import Suggestion
from tuning.space.dimensions import Dimension
from tuning.space.exploring import probes
from tuning.space.function_space import FunctionSpace
from tuning.space.ray_space import GRID, from_ray
from tuning.space.search_space import Space, parse_dimension
from tuning.space.suggestions import fixed, from_optuna, refused
from tuning.space.wandb_space import from_wandb


def read_space(raw: object) -> Space:
    """Turns `raw` into a search space.

    Args:
        raw: a function of a trial, a mapping, a `Space`, None for the default space, or the name of such an object as
            `package.module:name` or `shipped:PATH`.

    Returns:
        A `FunctionSpace` where the function suggests: what the trainable is given is then what it returns. Its `plain`
        is the same as a `Space` where nothing depends on an answer. Else a `Space`.

    Raises:
        InputError: it cannot be expressed here; names the hyperparameter, and what to write instead.
    """
    if isinstance(raw, Space):
        return raw
    if raw is None:
        from transformers.trainer_utils import default_hp_space_optuna

        return FunctionSpace.of(default_hp_space_optuna)
    found = load_hp_space(raw) if isinstance(raw, str) else raw
    if callable(found):
        return _of_function(found, raw if isinstance(raw, str) else found)
    if isinstance(found, Mapping):
        return _of_mapping(found)
    step = "give a function of a trial, or a dictionary by hyperparameter"
    raise InputError("space", type(found).__name__, "no search space", step)


def _of_function(function: HpSpace, source: str | HpSpace) -> Space:
    """The space of a function, which either suggests values or returns a dictionary of domains."""
    trial, result = call_with_trial(function, lambda name, suggestion: probes(suggestion)[0])
    if trial.suggestions:
        space = FunctionSpace.of(source)
        for name, value in result.items():
            if _kind_of(value) is not None:
                rule = "is a domain of its own beside suggest_*, which nothing would draw from"
                raise InputError(f"space.{name}", type(value).__name__, rule, "suggest it with suggest_*")
        return space
    if not isinstance(result, Mapping):
        name = getattr(function, "__name__", repr(function))
        step = "call trial.suggest_*, or return a dictionary of Ray domains or {'parameters': ...}"
        raise InputError("space", name, f"suggests nothing and returns {type(result).__name__}", step)
    return _of_mapping(result)


def _of_mapping(raw: Mapping[Any, Any]) -> Space:
    if isinstance(raw.get("parameters"), Mapping):
        return Space(dict(from_wandb(raw["parameters"])))
    return Space({str(name): read_dimension(str(name), value) for name, value in raw.items()})


def read_dimension(name: str, raw: object) -> Dimension:
    """Turns a Ray domain, an Optuna distribution, our own form, or a single value into a dimension.

    Raises:
        InputError: it is none of these.
    """
    kind = _kind_of(raw)
    if kind == "ray":
        return from_ray(name, raw)
    if kind == "optuna":
        return from_optuna(name, raw)
    if kind == "hyperopt":
        step = "write {loguniform: [low, high]} or tune.loguniform(low, high)"
        raise InputError(f"space.{name}", "an expression of HyperOpt", "cannot be read back", step)
    if isinstance(raw, Suggestion):
        raise InputError(f"space.{name}", str(raw), "no dimension", "suggest it with trial.suggest_*")
    try:
        return parse_dimension(raw) if isinstance(raw, Mapping | Dimension | list | tuple) else fixed(name, raw)
    except ValidationError as error:
        raise refused(name, raw, error) from error
    except InputError:
        raise
    except ValueError as error:
        step = "or give a Ray domain or an Optuna distribution"
        raise InputError(f"space.{name}", raw, str(error), step) from error


def _kind_of(raw: object) -> str | None:
    """The library that `raw` comes from; None if it is a value or our own form."""
    if isinstance(raw, Mapping):
        return "ray" if raw.keys() == {GRID} else None
    origins = {origin.__module__ for origin in type(raw).__mro__}
    if "ray.tune.search.sample" in origins:
        return "ray"
    if any(origin.startswith("optuna.distributions") for origin in origins):
        return "optuna"
    return "hyperopt" if any(origin.startswith("hyperopt.") for origin in origins) else None
