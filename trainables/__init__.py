"""Computes one trial, on a worker: trainings, data, models, checkpoints. Knows nothing of strategies or stores."""

from trainables.progress import step_done
from trainables.reporting import Report, report, restored_checkpoint
from trainables.spec import DataSpec, FineTuneSpec, Objective, Params, Value

__all__ = [
    "DataSpec",
    "FineTuneSpec",
    "Objective",
    "Params",
    "Report",
    "Value",
    "report",
    "restored_checkpoint",
    "step_done",
]
