"""The model of a user's own Trainer in a folder, as `Trainer.save_model` writes it, with its tokenizer."""

from __future__ import annotations

from pathlib import Path

from transformers.trainer import TRAINING_ARGS_NAME

from trainables.training import Training
from trainables.user_trainer.user_training import UserTraining


def export_trainer_model(training: Training, state: Path, folder: Path) -> None:
    """Write the model whose weights `UserTraining.save` has put into `state` into the existing `folder`.

    The pickled arguments are left out: nothing loads them, and they name places of the machine that trained.

    Args:
        training: a fresh one of the user's own Trainer, with the params that were in force at the end.

    Raises:
        FileNotFoundError: `state` holds no weights.
    """
    assert isinstance(training, UserTraining)
    training.restore(state, weights_only=True)
    training.save_model(folder)
    (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
