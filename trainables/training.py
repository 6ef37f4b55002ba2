"""A trial's live object, and how it is found by the name in `trainable:`. Knows nothing of Ray, and imports none.

The four verbs of a `Training` are all that a slot, a replay, a confirmation and the final training know of what they
train.
"""

from __future__ import annotations

import gc
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from trainables.errors import nearest
from trainables.machine.cores import take_cores
from trainables.spec import FINAL, SHIPPED, TRAININGS, FineTuneSpec, Params, Value
from trainables.user_trainer.suggested import given

Kind: TypeAlias = Literal["training", "function", "factory"]


class Evaluation(NamedTuple):
    """What `Training.advance` returns: position, scores, and the values in force on the way there."""

    epoch: float
    metrics: dict[str, float]
    params: dict[str, Any]


class Scores(NamedTuple):
    """What `Training.score` returns."""

    metrics: dict[str, float]
    rows: int  # how many rows the metrics are over; 0: they are no sample
    # Of the test split, in the split's own order: class numbers, or the values of a regression. None: not told, as
    # the outputs are not finite, or it is another split or a trainable without rows.
    labels: tuple[float, ...] | None = None
    predictions: tuple[float, ...] | None = None


class Training(Protocol):
    """One trial's model, optimizer, schedule, data order and random state. Knows nothing of Ray.

    Built as `Class(params, spec)`. Implemented by `finetune.FineTuning` and `learning_curve.LearningCurve`; by
    `user_trainer.user_training.UserTraining` around a Trainer of the user's own; and by `team.Together` for several
    processes that each hold one of a class with `divides_rows = True`.
    """

    horizon: float  # epochs after which the trial is complete
    provenance: Mapping[str, Value]  # what the scores rest on besides spec and params: fingerprint of the data, device

    def advance(self, epochs: float) -> Evaluation:
        """Train on by `epochs` (less where the horizon comes first) and evaluate on the validation split."""

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Evaluate as it stands. The test split is for the end of an experiment, never for a search."""

    def save(self, folder: Path, *, moments: bool = True) -> None:
        """Write into the existing `folder` all that `score` needs; with `moments` all that `advance` needs as well.

        What `advance` alone needs goes into `recipe.MOMENTS`: copies for scoring leave that file out.
        """

    def restore(self, folder: Path, *, moments: bool = True) -> None:
        """Take over position, weights, moments and random state from `folder`; keep this trial's own params.

        Without `moments` it can only score from then on.
        """


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
