"""Exports the model of a user's Trainer as `Trainer.save_model` writes it, with its tokenizer."""

from __future__ import annotations

from pathlib import Path

from transformers.trainer import TRAINING_ARGS_NAME

from trainables.training import Training
from trainables.user_trainer.user_training import UserTraining


def export_trainer_model(training: Training, state: Path, folder: Path) -> None:
    """Writes the model whose weights `UserTraining.save` put into `state` into the existing `folder`.

    The pickled arguments are left out: nothing loads them, and they contain paths of the machine that trained.

    Args:
        training: a new `UserTraining` with the params that were in force at the end.
        state: the folder of the state.
        folder: to write into.

    Raises:
        FileNotFoundError: `state` holds no weights.
    """
    assert isinstance(training, UserTraining)
    training.restore(state, weights_only=True)
    training.save_model(folder)
    (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
