"""Detects a factory that returns objects which an earlier trial has trained.

A slot computes many trials. A model created once, when the module is imported, would be trained further by each trial,
and an EarlyStoppingCallback created once would continue counting. Nobody would notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from transformers import Trainer
from transformers.trainer_callback import ExportableState

from trainables.errors import InputError
from trainables.user_trainer.state import extra_tensors

MARK = "_left_by_a_trial"  # attribute of an object: its fingerprint at the end of the last trial
SHOWN = 8  # numbers of a weight that make up its fingerprint


class _Part(NamedTuple):
    """A weight or a callback, which a trial changes."""

    name: str
    kind: str
    of: Any
    now: str  # its fingerprint


def fingerprints(trainer: Trainer) -> dict[str, str]:
    """The fingerprints of weights and callbacks, by name."""
    return {part.name: part.now for part in _parts(trainer)}


def mark_changed(trainer: Trainer, before: dict[str, str]) -> None:
    """Marks the objects that a trial has changed.

    Args:
        trainer: at the end of the trial.
        before: its `fingerprints` when the factory had returned it.
    """
    for part in _parts(trainer):
        if part.now != before.get(part.name):
            setattr(part.of, MARK, part.now)


def require_fresh(trainer: Trainer) -> None:
    """Requires that a Trainer from a factory has not been trained.

    Raises:
        InputError: it has taken steps, or a part of it was changed by an earlier trial of this process.
    """
    if trainer.state.global_step:
        rule = f"the factory returned a Trainer that has taken {trainer.state.global_step} steps"
        raise InputError("trainable", type(trainer).__name__, rule, "make it and its model anew in the function")
    for part in _parts(trainer):
        if getattr(part.of, MARK, None) == part.now:
            rule = f"the factory returned a {part.kind} that is as an earlier trial has left it"
            raise InputError(part.kind, part.name, rule, f"make the {part.kind} anew in the function")


def _parts(trainer: Trainer) -> Iterator[_Part]:
    for kind, weights in (("model", dict(trainer.model.named_parameters())), ("module", extra_tensors(trainer))):
        for name, weight in weights.items():
            if weight.requires_grad and not weight.is_meta:
                yield _Part(name, kind, weight, repr(weight.detach().reshape(-1)[:SHOWN].tolist()))
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ExportableState):
            yield _Part(type(callback).__name__, "callback", callback, repr(callback.state()["attributes"]))
