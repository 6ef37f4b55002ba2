"""The model that `train-final` keeps, with all that its card tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.spec import Value
from trainables.training import Scores
from tuning.finish.winner import Winner
from tuning.outcome import FinalModel
from tuning.spec import ExperimentSpec


@dataclass(frozen=True)
class KeptModel:
    """A final model with all that is known of it."""

    spec: ExperimentSpec
    winner: Winner
    model: FinalModel
    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for a regression and a Trainer of the user's own
    looks: int  # at test by final models of this experiment before this one

    @property
    def metric(self) -> str:
        """What the search optimised."""
        return self.winner.study.metric
