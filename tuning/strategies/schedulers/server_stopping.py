"""Stops the trials that the server of a sweep stops, each at its next report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tuning.strategies.schedulers.fifo import FIFO

if TYPE_CHECKING:
    from tuning.tracking.online_sweep import OnlineSweep


class ServerStopping(FIFO):
    """Every trial to its end, unless the server wants it to stop."""

    def __init__(self, sweep: OnlineSweep) -> None:
        super().__init__()
        self._sweep = sweep

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Called by Tune with each report but a trial's last."""
        return str(TrialScheduler.STOP if self._sweep.stops(trial.trial_id) else TrialScheduler.CONTINUE)
