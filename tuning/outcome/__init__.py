"""What came out of an experiment: frozen results, as the study store gives them back. No I/O.

Its fields are the documented schema of `tunefleet results --json`.
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
