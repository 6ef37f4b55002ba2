"""What a trial leaves in its process where a factory hands out the same objects again.

A slot serves many trials. A model that is made once, when the module is imported, would be trained on by each of them
in turn, from where the one before has left it; and an EarlyStoppingCallback made once would count on. Nothing would
tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from transformers import Trainer
from transformers.trainer_callback import ExportableState

from trainables.errors import InputError
from trainables.user_trainer.state import extra_tensors

MARK = "_left_by_a_trial"  # on an object: how the last trial has left it
SHOWN = 8  # numbers of a weight that it is known again by


class _Part(NamedTuple):
    """Something that a trial changes."""

    name: str
    kind: str
    of: Any
    now: str  # what it is known again by


def fingerprints(trainer: Trainer) -> dict[str, str]:
    """Weights and callbacks as they are now, by name."""
    return {part.name: part.now for part in _parts(trainer)}


def mark_changed(trainer: Trainer, before: dict[str, str]) -> None:
    """Mark what a trial leaves changed.

    Args:
        before: its `fingerprints`, when the factory had made it.
    """
    for part in _parts(trainer):
        if part.now != before.get(part.name):
            setattr(part.of, MARK, part.now)


def require_fresh(trainer: Trainer) -> None:
    """Judge a Trainer that a factory has returned.

    Raises:
        InputError: it has been trained, or a part of it is as an earlier trial of this process has left it.
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
