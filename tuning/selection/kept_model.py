"""The model that `train-final` keeps, with everything that its card shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainables.spec import Value
from trainables.training import Scores
from tuning.outcome import FinalModel
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.selection.winner import Winner
from tuning.spec.models import ExperimentSpec


@dataclass(frozen=True)
class KeptModel:
    """A final model with everything that is known of it."""

    spec: ExperimentSpec
    winner: Winner
    model: FinalModel
    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for a regression and a Trainer of the user's own
    evaluations: int  # on the test split, of this experiment's models before this one
    memory: EarlierEvaluations | None = None  # by earlier experiments; None: the test rows are not known

    @property
    def metric(self) -> str:
        """The metric that the search optimised."""
        return self.winner.study.metric


def describe_score(model: FinalModel, metric: str) -> str:
    """Describe a final model's test score in one sentence."""
    if model.hidden:
        return (
            f"its test score ({model.rows:,} rows) is kept hidden: the same command with --reveal-test shows it "
            "without training again, and records the evaluation"
        )
    if not model.rows:
        return "not scored on test: there are no test rows (those of a Trainer are its `test_dataset`)"
    if metric not in model.metrics:
        known = ", ".join(sorted(model.metrics)) or "none"
        return f"not scored on test: {metric} is not among the scores of its {model.rows:,} rows ({known})"
    return f"test {metric}, evaluated once: {model.metrics[metric]:.4f} ({model.rows:,} rows)"
