"""Stops trials early by Optuna's percentile and patient pruners, over what Tune reports. Imports Ray and Optuna.

In: reports. Out: Tune's decision to continue or to stop. The scheduler tells them to an Optuna study of its own, in
memory, and asks the pruner; nothing is sampled there.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from trainables.spec import Objective
from tuning.strategies.schedulers.fifo import FIFO
from tuning.strategies.schedulers.optuna_study import step_of, study_in_memory

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class PruningScheduler(FIFO):
    """Tune's first-in-first-out order, with the trials stopped that an Optuna pruner would prune.

    A step of Optuna's is a thousandth of an epoch, so trials are compared at equal epochs. An epoch that a trial
    reports again, after a crash, counts with its first report. A failed trial is compared with nobody.

    Args:
        objective: read from reports as `metrics/<metric>`.
        grace_epochs: no trial is stopped before.
        percentile, startup_trials, patience: see `tuning.strategies.schedulers.stopping.BelowOthers`.
    """

    def __init__(
        self, objective: Objective, grace_epochs: float, percentile: float, startup_trials: int, patience: int | None
    ) -> None:
        super().__init__()
        self._metric = f"metrics/{objective.metric}"
        pruner: optuna.pruners.BasePruner = optuna.pruners.PercentilePruner(
            percentile, n_startup_trials=startup_trials, n_warmup_steps=step_of(grace_epochs)
        )
        if patience is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is experimental
                pruner = optuna.pruners.PatientPruner(pruner, patience - 1)  # it waits for one evaluation more
        self._study = study_in_memory([objective.mode], optuna.samplers.RandomSampler(seed=0), pruner)
        self._known: dict[str, optuna.Trial] = {}  # those that have not ended, by Tune's id

    @property
    def metric(self) -> str:
        """The key of a report's score."""
        return self._metric

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called by Tune when a trial is proposed or restored."""
        super().on_trial_add(tune_controller, trial)
        if not trial.is_finished() and trial.trial_id not in self._known:
            self._known[trial.trial_id] = self._study.ask()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Called by Tune at each report but a trial's last; whether the trial goes on."""
        known = self._known[trial.trial_id]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a report that is repeated, or of nothing but NaN
            self._report(known, result)
            pruned = known.should_prune()
        return str(TrialScheduler.STOP if pruned else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Called by Tune when a trial ends without a failure: with one that has come to its end others are compared."""
        if (known := self._known.pop(trial.trial_id, None)) is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._report(known, result)
        score = result.get(self._metric, math.nan)
        if result.get("finished") and not math.isnan(score):
            self._study.tell(known, float(score))
        else:
            self._study.tell(known, state=TrialState.PRUNED)

    def _report(self, known: optuna.Trial, result: dict[str, Any]) -> None:
        if self._metric in result and "epoch" in result:
            known.report(float(result[self._metric]), step_of(result["epoch"]))
