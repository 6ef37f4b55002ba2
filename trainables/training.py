"""A trial's live object: the verbs of a `Training`, and what they return. Knows nothing of Ray, and imports none.

The four verbs of a `Training` are all that a slot, a replay, a confirmation and the final training know of what they
train.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from trainables.spec import Value


class Evaluation(NamedTuple):
    """What `Training.advance` returns: position, scores, and the values in force on the way there."""

    epoch: float
    metrics: dict[str, float]
    params: dict[str, Any]


class Scores(NamedTuple):
    """What `Training.score` returns."""

    metrics: dict[str, float]
    rows: int  # how many rows the metrics are over; 0: they are no sample
    # Of the test split, in the split's own order: class numbers, or the values of a regression. None: not told, as
    # the outputs are not finite, or it is another split or a trainable without rows.
    labels: tuple[float, ...] | None = None
    predictions: tuple[float, ...] | None = None


class Training(Protocol):
    """One trial's model, optimizer, schedule, data order and random state. Knows nothing of Ray.

    Built as `Class(params, spec)`. Implemented by `finetune.FineTuning` and `learning_curve.LearningCurve`; by
    `user_trainer.user_training.UserTraining` around a Trainer of the user's own; and by `team.Together` for several
    processes that each hold one of a class with `divides_rows = True`.
    """

    horizon: float  # epochs after which the trial is complete
    provenance: Mapping[str, Value]  # what the scores rest on besides spec and params: fingerprint of the data, device

    def advance(self, epochs: float) -> Evaluation:
        """Train on by `epochs` (less where the horizon comes first) and evaluate on the validation split."""

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Evaluate as it stands. The test split is for the end of an experiment, never for a search."""

    def save(self, folder: Path, *, moments: bool = True) -> None:
        """Write into the existing `folder` all that `score` needs; with `moments` all that `advance` needs as well.

        What `advance` alone needs goes into `recipe.MOMENTS`: copies for scoring leave that file out.
        """

    def restore(self, folder: Path, *, moments: bool = True) -> None:
        """Take over position, weights, moments and random state from `folder`; keep this trial's own params.

        Without `moments` it can only score from then on.
        """
