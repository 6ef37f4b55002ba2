"""Decides which experiments leave a model that `train-final` can keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import InputError
from trainables.lookup import trainable_kind

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def makes_a_model(spec: ExperimentSpec) -> bool:
    """True if the trainable makes a model that can be kept: `finetune`, or a Trainer of the user's own.

    Raises:
        ValueError: the user's own trainable cannot be imported.
    """
    return spec.trainable == "finetune" or (spec.own and trainable_kind(spec.trainable) == "factory")


def refuse_without_a_model(spec: ExperimentSpec) -> None:
    """Refuse an experiment that leaves no model.

    Raises:
        InputError: the trainable of `spec` makes no model that could be kept.
    """
    try:
        if makes_a_model(spec):
            return
    except ValueError as error:
        raise InputError("trainable", spec.trainable, str(error), "bring back what the search was run with") from error
    rule = "is a formula: there is no model to keep" if not spec.own else "is code of your own"
    step = "train-final keeps models of finetune and of Trainers; tunefleet results --json has the best values"
    raise InputError("trainable", spec.trainable, rule, step)
