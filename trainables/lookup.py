"""Finds what a spec's `trainable:` names: a Training class, a factory of Trainers, or a function.

Imports what it finds; imports no Ray where there is no CUDA device.
"""

from __future__ import annotations

import gc
import importlib
import inspect
from typing import Any, Literal, TypeAlias

from trainables.costs import MeasuredTraining
from trainables.errors import nearest
from trainables.machine.cores import take_cores
from trainables.machine.device_memory import cap_device_memory, set_allocator
from trainables.spec import FINAL, SHIPPED, TRAININGS, FineTuneSpec, Params
from trainables.training import Training
from trainables.user_trainer.hp_space import resolve_params

Kind: TypeAlias = Literal["training", "function", "factory"]


def load_trainable(name: str) -> Any:
    """Imports the trainable of that name.

    Returns:
        A Training class, a factory of Trainers `def make_trainer(params)`, or a function `def train(params, *, spec)`.

    Raises:
        ValueError: no such module or attribute, or it is none of these.
    """
    target = _find(name)
    kind = _kind(target)
    if kind is None:
        rule = "must be a factory `def make_trainer(params)`, a class `Class(params, spec)` or a function"
        found = f"it takes {_signature(target)}" if callable(target) else f"it is a {type(target).__name__}"
        raise ValueError(f"{name!r}: {rule} `def train(params, *, spec)`; {found}")
    if kind == "training":
        _require_weights_only(name, target)
    return target


def _require_weights_only(name: str, target: Any) -> None:
    """Refuses a Training class whose `save` or `restore` cannot be called as `trainables.training.Training` says."""
    for verb in ("save", "restore"):
        method = getattr(target, verb, None)
        parameters = _signature(method).parameters
        if method is None or any(p.name == "weights_only" or p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        step = f"write `def {verb}(self, folder, *, weights_only=False)`"
        if "moments" in parameters:
            step += ", the opposite of the `moments=True` that earlier versions passed"
        raise ValueError(f"{name!r}: its method {verb} must have the keyword weights_only; {step}")


def _find(name: str) -> Any:
    """The object of that name, whatever it is."""
    if name.startswith(FINAL):
        return _on_all_rows(name.removeprefix(FINAL))
    if name.startswith(SHIPPED):
        from trainables.user_trainer import shipped

        return shipped.load_shipped(name)
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
    """The trainable for the final training, which trains on the validation rows as well."""
    if name == "finetune":
        from trainables.finetune.final_training import FinalTraining

        return FinalTraining
    from trainables.user_trainer.final_trainer import on_all_rows

    return on_all_rows(load_trainable(name))


def _kind(target: Any) -> Kind | None:
    """Tells the kind of a trainable by its parameters; None: it is none."""
    parameters = list(_signature(target).parameters.values())
    if any(parameter.name == "spec" for parameter in parameters):
        return "training" if inspect.isclass(target) else "function"
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return "factory" if len(required) == 1 and required[0].kind is not required[0].KEYWORD_ONLY else None


def _signature(target: Any) -> inspect.Signature:
    """The signature; an empty one if `target` is not callable or has none."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return inspect.Signature()


def _imported(module: str) -> Any:
    """Imports a module with garbage collection off: it takes up to a fifth of torch's import and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if enabled:
            gc.enable()


def trainable_kind(name: str) -> Kind:
    """The kind of trainable: "training" (a class), "factory" (it makes a user's Trainer) or "function".

    Does not import torch for the trainables of this package, nor for a shipped one, which is a factory.

    Raises:
        ValueError: as `load_trainable`.
    """
    if name.startswith(SHIPPED):
        return "factory"
    kind = "training" if name in TRAININGS else _kind(load_trainable(name))
    assert kind is not None
    return kind


def is_training(name: str) -> bool:
    """True if the trainable is driven as a `Training`; false for a function, which reports by itself.

    Raises:
        ValueError: as `load_trainable`.
    """
    return trainable_kind(name) != "function"


def divides_rows(name: str) -> bool:
    """True if a trial that holds several GPUs is computed by one process per GPU.

    A class declares it by `divides_rows = True`. Trainers of a factory use DDP, unless the factory has the attribute
    `divides_rows = False`.

    Raises:
        ValueError: as `load_trainable`.
    """
    if name in TRAININGS:
        return name == "finetune"
    return bool(getattr(load_trainable(name), "divides_rows", trainable_kind(name) == "factory"))


def build_training(params: Params, spec: FineTuneSpec, *, devices: float = 1) -> Training:
    """Builds a trial's Training. Imports the trainable in this process only, so a driver needs no torch.

    Args:
        params: the trial's values by tunable name; with `spec.hp_space` those that the function suggested.
        spec: what all trials of the study share.
        devices: that the trial holds, all its processes together; costs that `spec` asks for are measured by them.
    """
    training = build_unmeasured(params, spec)
    return MeasuredTraining(training, spec.costs, devices) if spec.costs else training


def build_unmeasured(params: Params, spec: FineTuneSpec) -> Training:
    """Builds an object of the trainable's own class, as `build_training` does, without what measures its costs."""
    take_cores()
    params = resolve_params(params, spec)
    spec = spec.seeded(params)
    target = load_trainable(spec.trainable)
    set_allocator(expandable_segments=spec.expandable_segments)
    cap_device_memory()  # before a model is on the device
    if _kind(target) == "factory":
        from trainables.user_trainer.user_training import UserTraining

        return UserTraining(target, params, spec)
    training: Training = target(params, spec)
    cap_device_memory()  # of a class that has imported torch only now
    return training
