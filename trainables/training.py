"""The interface of a live trial: the methods of a `Training`, and what they return. Imports no Ray.

Slots, replays, confirmations and the final training use these four methods and nothing else of what they train. A
search calls `advance` only, which evaluates on the validation split; `score("test")` is called in `tuning.selection`
alone, after the search.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from trainables.spec import Value


class Evaluation(NamedTuple):
    """The result of `Training.advance`."""

    epoch: float  # passes over the training split so far
    metrics: dict[str, float]  # on the validation split
    params: dict[str, Any]  # the values in force during the training, read off the live objects


class Scores(NamedTuple):
    """The result of `Training.score`."""

    metrics: dict[str, float]
    rows: int  # number of rows that were scored; 0: the metrics are not means over a sample
    # One value per row of the test split, in the split's order: class ids, or the numbers of a regression. None for
    # another split, for outputs that are not finite, and for a trainable without rows.
    labels: tuple[float, ...] | None = None
    predictions: tuple[float, ...] | None = None


class Training(Protocol):
    """One trial's model, optimizer, schedule, data order and random state.

    Built as `Class(params, spec)`. Implementations: `finetune.FineTuning`; `learning_curve.LearningCurve`;
    `user_trainer.user_training.UserTraining` around a user's Trainer; `worker.team.TeamTraining` for several processes
    that each hold one of a class with `divides_rows = True`; and classes of users. Methods must not call Ray.
    """

    horizon: float  # epochs after which the trial is complete
    provenance: Mapping[str, Value]  # what else the scores depend on, such as data fingerprint and device

    def advance(self, epochs: float) -> Evaluation:
        """Trains for `epochs`, at most to the horizon, and evaluates on the validation split."""

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Evaluates without training. The test split is for the end of an experiment, never for a search."""

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Writes the state into the existing `folder`.

        Args:
            folder: of a checkpoint.
            weights_only: write what `score` needs, without what only `advance` needs. The latter (optimizer state,
                random state) goes into the file `checkpoints.manifest.MOMENTS`, which copies for scoring leave out.
        """

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Restores position, weights, optimizer state and random state; keeps this trial's own params.

        Args:
            folder: that `save` wrote, of this trial or of a donor.
            weights_only: restore what `score` needs; the training cannot advance afterwards.

        Raises:
            FileNotFoundError: `folder` was saved with weights only, and more is wanted.
        """


class MeasurableTraining(Training, Protocol):
    """A `Training` that can tell what its model costs. It needs this method only where a spec asks for such costs."""

    def model_costs(self, names: Collection[str], seconds: float) -> dict[str, float]:
        """Measures what the model costs, without an effect on the training; called after an evaluation.

        Args:
            names: of `latency_ms`, `parameters` and `model_bytes` those that are wanted.
            seconds: that a measured time may take, or little more.
        """
