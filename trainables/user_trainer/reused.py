"""What a trial leaves in its process where a factory hands out the same objects again.

A slot serves many trials. A model that is made once, when the module is imported, would be trained on by each of them
in turn, from where the one before has left it, and nothing would tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer

from trainables.errors import InputError

LEFT = "_left_by_a_trial"  # on a weight: how the last trial has left it
SHOWN = 8  # numbers of a weight that it is known again by

Glimpses = dict[str, str]


def glimpses_of(model: Any) -> Glimpses:
    """Of each weight that is trained the first numbers, by name."""
    return {name: _glimpse(weight) for name, weight in _trained(model)}


def note_left(model: Any, before: Glimpses) -> None:
    """Mark the weights that a trial leaves changed.

    Args:
        before: its `glimpses_of`, when the factory had made it.
    """
    for name, weight in _trained(model):
        if (now := _glimpse(weight)) != before.get(name):
            setattr(weight, LEFT, now)


def require_fresh(trainer: Trainer) -> None:
    """Judge a Trainer that a factory has returned.

    Raises:
        InputError: it has been trained, or its model is as an earlier trial of this process has left it.
    """
    step = "make the model anew in the function, or pass model_init="
    if trainer.state.global_step:
        rule = f"the factory returned a Trainer that has taken {trainer.state.global_step} steps"
        raise InputError("trainable", type(trainer).__name__, rule, f"return one, not yet trained; {step}")
    for name, weight in _trained(trainer.model):
        if getattr(weight, LEFT, None) == _glimpse(weight):
            rule = f"the factory returned a model that an earlier trial has trained (its {name})"
            raise InputError("model", type(trainer.model).__name__, rule, step)


def _trained(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    trained = ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
    return ((name, weight) for name, weight in trained if not weight.is_meta)


def _glimpse(weight: torch.nn.Parameter) -> str:
    return repr(weight.detach().reshape(-1)[:SHOWN].tolist())
