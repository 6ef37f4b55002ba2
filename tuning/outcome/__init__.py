"""The results of an experiment as frozen dataclasses. The study store loads them; nothing here does I/O.

Their fields are the schema of `tunefleet results --json`.
"""

from tuning.outcome.experiment import ExperimentOutcome
from tuning.outcome.study import (
    Confirmation,
    FinalModel,
    ScoredRows,
    Stretch,
    StudyOutcome,
    StudyState,
    TestScore,
    best_study,
)
from tuning.outcome.trial import Exploit, NodeLoss, TrialOutcome, TrialState, epochs_trained, trial_name

__all__ = [
    "Confirmation",
    "ExperimentOutcome",
    "Exploit",
    "FinalModel",
    "NodeLoss",
    "ScoredRows",
    "Stretch",
    "StudyOutcome",
    "StudyState",
    "TestScore",
    "TrialOutcome",
    "TrialState",
    "best_study",
    "epochs_trained",
    "trial_name",
]
