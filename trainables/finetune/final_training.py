"""The final training after the search: the chosen values, on training and validation rows together.

Nothing remains to be chosen, so nothing is evaluated during it; the caller scores the test split at the end.
"""

from __future__ import annotations

from typing import Literal

from trainables.data.encoding import JoinedTask
from trainables.finetune.finetune import FineTuning
from trainables.training import Evaluation, Scores


class FinalTraining(FineTuning):
    """A `FineTuning` on training and validation rows; an epoch is a pass over both splits."""

    def prepared(self) -> JoinedTask:
        """The task, with both splits as the training split."""
        return JoinedTask.of(super().prepared())

    def advance(self, epochs: float) -> Evaluation:
        """Trains for `epochs`, at most to the horizon; evaluates nothing."""
        self.train_on(epochs)
        return Evaluation(self.epoch, {}, self.in_force())

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Scores the test split.

        Raises:
            ValueError: `split` is "validation", on which it was trained.
        """
        if split == "validation":
            raise ValueError("the validation rows were trained on: a score on them means nothing")
        return super().score(split)
