"""Stops trials by W&B's `hyperband`, and holds the runs of a sweep as W&B's engine sees them.

The engine is the package `sweeps`, imported where it is used: it brings scipy and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from trainables.errors import InputError
from trainables.spec import Objective
from tuning.strategies.schedulers.fifo import FIFO

GOALS = {"max": "maximize", "min": "minimize"}


def sweep_engine() -> Any:
    """The package `sweeps`.

    Raises:
        InputError: it, or what it imports, is not installed.
    """
    try:
        return import_module("sweeps")
    except ImportError as error:
        step = "pip install --no-deps sweeps; pip install jsonref jsonschema scikit-learn"
        raise InputError("strategies", "wandb_sweep", f"W&B's engine cannot be imported: {error}", step) from error


class SweepRuns:
    """The runs of one sweep, in the order of their proposals: values, state and scores.

    Args:
        objective: whose metric the scores are of.
        early: `early_terminate` of a sweep's configuration; None: nothing is stopped.
    """

    def __init__(self, objective: Objective, early: Mapping[str, Any] | None) -> None:
        self.objective, self._early = objective, early
        self._runs: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """All runs by trial, as JSON holds them: what the engine decides by."""
        return self._runs

    def restore(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Go on with the runs of a saved state."""
        self._runs.clear()
        self._runs.update(state)

    def begin(self, trial_id: str, config: Mapping[str, Any]) -> None:
        """Enter a run with the values that the engine has proposed, in its own form."""
        self._runs[trial_id] = {"config": dict(config), "state": "running", "scores": []}

    def report(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Enter the score of a report; what a restarted trial reports again takes the place of its earlier report."""
        run, epoch = self._runs[trial_id], float(result.get("epoch", 0.0))
        score = float(result[f"metrics/{self.objective.metric}"])
        run["scores"] = [*(one for one in run["scores"] if one[0] < epoch), (epoch, score)]
        run["state"] = "running"

    def end(self, trial_id: str, state: str) -> None:
        """Enter the end of a run: finished (to its end, or stopped) or failed."""
        if trial_id in self._runs:
            self._runs[trial_id]["state"] = state

    def stops(self, trial_id: str) -> bool:
        """True if the engine would stop the run now."""
        if self._early is None:
            return False
        config = {"metric": self.metric, "early_terminate": dict(self._early)}
        return any(run.name == trial_id for run in sweep_engine().stop_runs(config, list(self.as_engine())))

    @property
    def metric(self) -> dict[str, str]:
        """The section `metric` of a sweep's configuration."""
        return {"name": self.objective.metric, "goal": GOALS[self.objective.mode]}

    def as_engine(self) -> Iterator[Any]:
        """Yields the runs as the engine takes them."""
        engine, name = sweep_engine(), self.objective.metric
        for trial_id, run in self._runs.items():
            history = [{name: score} for _, score in run["scores"]]
            yield engine.SweepRun(
                name=trial_id,
                state=run["state"],
                config={key: {"value": value} for key, value in run["config"].items()},
                history=history,
                summary_metrics=history[-1] if history else {},
            )


class SweepStopping(FIFO):
    """Enters each report into the runs, and stops the trials that the engine stops.

    A decision follows from the scores alone: what a trial reports again after a crash is decided again.
    """

    def __init__(self, runs: SweepRuns) -> None:
        super().__init__()
        self._runs = runs

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Called by Tune with each report but a trial's last."""
        self._runs.report(trial.trial_id, result)
        return str(TrialScheduler.STOP if self._runs.stops(trial.trial_id) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Called by Tune with a trial's last report."""
        self._runs.report(trial.trial_id, result)
