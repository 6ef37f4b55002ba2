"""Converts between optimizer steps and epochs of a training, so that positions do not depend on the batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from transformers.trainer_utils import has_length

from trainables.epochs import ROUNDING


@dataclass(frozen=True)
class Steps:
    """The steps of a training with a constant batch size.

    Args:
        total: steps from the beginning to the horizon.
        horizon: the epochs that `total` corresponds to.
        per_epoch: steps of one pass over the rows; None: progress is counted in steps, because the number of rows is
            not known or `max_steps` is set.
        rows: rows of one pass.
        rows_per_step: rows of each step but the last of a pass.
        per_pass: as `per_epoch`, but also set if `max_steps` is; None: the rows have no length.
    """

    total: int
    horizon: float
    per_epoch: int | None
    rows: float
    rows_per_step: float
    per_pass: int | None

    @classmethod
    def of(cls, trainer: Any, dataloader: Any, horizon: float, per_epoch: int, total: int) -> Steps:
        """The steps as the Trainer computed them.

        Args:
            trainer: the Trainer.
            dataloader: of the training.
            horizon: epochs.
            per_epoch: `num_update_steps_per_epoch` from `Trainer.set_initial_training_values`.
            total: `max_steps` from there.
        """
        per_pass = per_epoch if has_length(dataloader) else None
        if trainer.args.max_steps > 0 or per_pass is None:
            return cls(total, horizon, None, total, 1, per_pass)
        rows, batches = trainer.num_examples(dataloader), len(dataloader)
        batch = getattr(dataloader, "total_batch_size", None) or dataloader.batch_size or 0
        if not batch or batches not in (math.ceil(rows / batch), rows // batch):
            return cls(total, horizon, per_epoch, per_epoch, 1, per_pass)  # a custom batch sampler
        seen = min(rows, batches * batch)  # the last rows may be dropped
        return cls(total, horizon, per_epoch, seen, batch * trainer.args.gradient_accumulation_steps, per_pass)

    def epochs_at(self, step: int) -> float:
        """The position in epochs after `step` steps."""
        if step >= self.total:
            return self.horizon
        if self.per_epoch is None:
            return self.horizon * step / self.total
        passes, left = divmod(step, self.per_epoch)
        return passes + min(left * self.rows_per_step / self.rows, 1.0)

    def step_at(self, epochs: float) -> int:
        """The number of steps after which the training is nearest to the position `epochs`."""
        if epochs >= self.horizon - ROUNDING:
            return self.total
        if self.per_epoch is None:
            return math.floor(self.total * epochs / self.horizon + 0.5)
        passes = math.floor(epochs + ROUNDING)
        left = math.floor((epochs - passes) * self.rows / self.rows_per_step + 0.5)
        return passes * self.per_epoch + min(left, self.per_epoch)

    def ends_pass(self, step: int) -> bool:
        """True if `step` is the last one of a pass over the rows."""
        return step >= self.total or (self.per_epoch is not None and step % self.per_epoch == 0)
