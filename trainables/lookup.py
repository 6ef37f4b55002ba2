"""Finds what the name in `trainable:` stands for: a Training class, a factory of Trainers, or a function.

Imports what it finds, and no Ray.
"""

from __future__ import annotations

import gc
import importlib
import inspect
from typing import Any, Literal, TypeAlias

from trainables.errors import nearest
from trainables.machine.cores import take_cores
from trainables.spec import FINAL, SHIPPED, TRAININGS, FineTuneSpec, Params
from trainables.training import Training
from trainables.user_trainer.suggested import given

Kind: TypeAlias = Literal["training", "function", "factory"]


def load_trainable(name: str) -> Any:
    """The object behind `trainable:`: a Training class, a factory of Trainers `def make_trainer(params)`, or a user's
    function `def train(params, *, spec)`.

    Raises:
        ValueError: no such module or attribute, or it is none of these.
    """
    target = _found(name)
    if _kind(target) is None:
        rule = "must be a factory `def make_trainer(params)`, a class `Class(params, spec)` or a function"
        told = f"it takes {_signature(target)}" if callable(target) else f"it is a {type(target).__name__}"
        raise ValueError(f"{name!r}: {rule} `def train(params, *, spec)`; {told}")
    return target


def _found(name: str) -> Any:
    """What has that name, whatever it is."""
    if name.startswith(FINAL):
        return _on_all_rows(name.removeprefix(FINAL))
    if name.startswith(SHIPPED):
        from trainables.user_trainer import shipped

        return shipped.load(name)
    module_name, _, attribute = TRAININGS.get(name, name).partition(":")
    if not attribute:
        known = ", ".join(TRAININGS)
        raise ValueError(f"{name!r}: must be {known}, or package.module:function for your own")
    try:
        module = _imported(module_name)
    except ModuleNotFoundError as error:
        own = error.name is not None and f"{module_name}.".startswith(f"{error.name}.")
        step = "is its folder on PYTHONPATH?" if own else f"{module_name} imports it: install it, or remove the import"
        raise ValueError(f"{name!r}: {error}; {step}") from error
    except Exception as error:
        raise ValueError(f"{name!r}: {module_name} cannot be imported: {type(error).__name__}: {error}") from error
    if (target := getattr(module, attribute, None)) is None:
        public = [known for known in vars(module) if not known.startswith("_")]
        raise ValueError(f"{name!r}: {module_name} has no {attribute}; {nearest(attribute, public)}")
    return target


def _on_all_rows(name: str) -> Any:
    """For the training after the search, which trains on the validation rows, too."""
    if name == "finetune":
        from trainables.finetune.final_training import FinalTraining

        return FinalTraining
    from trainables.user_trainer.final_trainer import on_all_rows

    return on_all_rows(load_trainable(name))


def _kind(target: Any) -> Kind | None:
    """By what it asks for; None: it is none of them."""
    parameters = list(_signature(target).parameters.values())
    if any(parameter.name == "spec" for parameter in parameters):
        return "training" if inspect.isclass(target) else "function"
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return "factory" if len(required) == 1 and required[0].kind is not required[0].KEYWORD_ONLY else None


def _signature(target: Any) -> inspect.Signature:
    """An empty one of what is not callable, or does not tell."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return inspect.Signature()


def _imported(module: str) -> Any:
    """Import a module without a search for garbage, which takes up to a fifth of torch's import: what is made stays."""
    searched = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if searched:
            gc.enable()


def kind_of(name: str) -> Kind:
    """What `trainable:` names: "training" (a class), "factory" (it makes a user's own Trainer) or "function". Ours are
    known without importing torch, and what was shipped is a factory.

    Raises:
        ValueError: as `load_trainable`.
    """
    if name.startswith(SHIPPED):
        return "factory"
    kind = "training" if name in TRAININGS else _kind(load_trainable(name))
    assert kind is not None
    return kind


def is_training(name: str) -> bool:
    """True if what `trainable:` names is built as a `Training`, false for a user's function, which reports by itself.

    Raises:
        ValueError: as `load_trainable`.
    """
    return kind_of(name) != "function"


def divides_rows(name: str) -> bool:
    """Whether what `trainable:` names computes a trial in a process per GPU, where that holds several. A class says so
    by `divides_rows = True`; the Trainers of a factory do, by DDP, unless that has `divides_rows = False`.

    Raises:
        ValueError: as `load_trainable`.
    """
    if name in TRAININGS:
        return name == "finetune"
    return bool(getattr(load_trainable(name), "divides_rows", kind_of(name) == "factory"))


def build(params: Params, spec: FineTuneSpec) -> Training:
    """The Training that `spec.trainable` names, imported where it computes: a driver needs no torch."""
    take_cores()
    params = given(params, spec)
    target = load_trainable(spec.trainable)
    if _kind(target) == "factory":
        from trainables.user_trainer.user_training import UserTraining

        return UserTraining(target, params, spec)
    training: Training = target(params, spec)
    return training
