"""Search spaces as a user writes them, in a module of their own that specs name and workers import."""

from __future__ import annotations

from typing import Any

from ray import tune


def conditional(trial: Any) -> dict[str, Any]:
    """Suggests the rate by its logarithm, and more names by branch.

    Adam asks for twice its decay, under the same name, sgd for a momentum, and each layer for its width.
    """
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    given: dict[str, Any] = {"optim": optim, "learning_rate": 10 ** trial.suggest_float("log_lr", -5, -2)}
    if optim == "sgd":
        given["model.momentum"] = trial.suggest_categorical("momentum", [0.0, 0.9])
    else:
        given["weight_decay"] = trial.suggest_float("weight_decay", 0, 0.3) / 2
    layers = trial.suggest_int("layers", 1, 2)
    widths = [trial.suggest_int(f"width{i}", 64, 256, log=True) for i in range(layers)]
    given["model.widths"] = "x".join(map(str, widths))
    return given


def static(trial: Any) -> dict[str, Any]:
    """Suggests always the same names, one of which a value is computed from."""
    decay = trial.suggest_float("weight_decay", 0, 0.3)
    return {"learning_rate": 10 ** trial.suggest_float("log_lr", -5, -2), "weight_decay": decay}


def finite(trial: Any) -> dict[str, Any]:
    """Suggests one of five configurations in two branches."""
    if trial.suggest_categorical("optim", ["adamw_torch", "sgd"]) == "sgd":
        return {"learning_rate": trial.suggest_categorical("learning_rate", [1e-3, 1e-2]), "optim": "sgd"}
    return {"learning_rate": trial.suggest_categorical("adam_rate", [1e-5, 1e-4, 1e-3]), "optim": "adamw_torch"}


def widths(trial: Any) -> dict[str, Any]:
    """Suggests nothing but a name of its own."""
    return {"model.width": trial.suggest_int("width", 64, 256)}


def large(trial: Any) -> dict[str, Any]:
    """Suggests seven ranges, or none."""
    names = "abcdefg" if trial.suggest_categorical("more", [True, False]) else ""
    return {f"model.{name}": trial.suggest_float(name, 0, 1) for name in names}


def of_ray(trial: Any) -> dict[str, Any]:
    """Returns the space as the Ray backend asks for it: a dictionary of domains."""
    return {"learning_rate": tune.loguniform(1e-5, 1e-2), "warmup_steps": tune.randint(0, 10)}


SWEEP = {
    "method": "random",
    "parameters": {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2}},
}

_calls = 0


def drifting(trial: Any) -> dict[str, Any]:
    """Suggests another range at each call."""
    global _calls
    _calls += 1
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3 + _calls)}


def too_high(trial: Any) -> dict[str, Any]:
    """Returns a value that no training takes."""
    return {"learning_rate": 10 ** trial.suggest_float("log_lr", -5, 2)}
