"""Evaluates a Trainer in the middle of its training without side effects on it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

from transformers import Trainer, TrainerCallback

from trainables.checkpoints.tensors import random_state, set_random_state


@contextlib.contextmanager
def undisturbed(trainer: Trainer, callback: TrainerCallback) -> Iterator[None]:
    """In the block, the Trainer can evaluate; its random state, its counts and its callbacks are not affected.

    Args:
        trainer: the Trainer.
        callback: the only callback that is called in the block.
    """
    handler = trainer.callback_handler
    before = trainer.state, trainer.control, handler.callbacks, handler.eval_dataloader, trainer.is_in_train
    generators = random_state()
    trainer.state, trainer.control = copy.copy(trainer.state), copy.copy(trainer.control)
    trainer.state.log_history = list(trainer.state.log_history)
    handler.callbacks = [callback]
    trainer.is_in_train = True  # otherwise arguments such as bf16_full_eval would cast the weights permanently
    try:
        yield
    finally:
        trainer.state, trainer.control, handler.callbacks, handler.eval_dataloader, trainer.is_in_train = before
        set_random_state(generators)
