"""The training after the search: of values that are chosen, on the training and the validation rows together.

Nothing is left to choose by, so nothing is evaluated on the way; the test split is scored at the end, by the caller.
"""

from __future__ import annotations

from typing import Literal

from trainables.data.encoding import JoinedTask
from trainables.finetune.finetune import FineTuning
from trainables.training import Evaluation, Scores


class FinalTraining(FineTuning):
    """See `finetune.FineTuning`. An epoch is a pass over both splits."""

    def prepared(self) -> JoinedTask:
        """Both splits to train on."""
        return JoinedTask.of(super().prepared())

    def advance(self, epochs: float) -> Evaluation:
        """Train on by `epochs`, at most to the horizon; no metrics."""
        self.train_on(epochs)
        return Evaluation(self.epoch, {}, self.in_force())

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """The metrics on the test split.

        Raises:
            ValueError: the validation rows are asked for, which it was trained on.
        """
        if split == "validation":
            raise ValueError("the validation rows were trained on: a score on them says nothing")
        return super().score(split)
