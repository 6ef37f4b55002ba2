"""Stops trials early by Ray's ASHA: the decision is Ray's `ASHAScheduler`, mended here for restarts.

After a restart it decides again what was decided and not yet done. Where the rungs are, and how many go on at each, is
set in `tuning.strategies.schedulers.stopping`; `tuning.supervision.supervisor` ends a study whose budget is spent.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import ASHAScheduler

from tuning.strategies.schedulers.fifo import first_waiting
from tuning.tune_compat.asha_rungs import bracket_of, bracket_weights, leave_rungs_after, put_in_bracket

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class ASHA(ASHAScheduler):  # type: ignore[misc]
    """Asynchronous successive halving that survives the death of the driver.

    A trial is entered in a rung when it reports, and stopped when the checkpoint of that report is saved. In between
    the driver may die. The trial then goes on from an older checkpoint and reports again; Ray's own
    scheduler finds it in the rung and takes that for a decision to continue.

    Args:
        seed: of the draws of brackets, which Ray makes from NumPy's global random state.
        options: those of Ray's scheduler.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self._seed, self._added = seed, 0

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Called by Tune at each step; see `first_waiting`."""
        return first_waiting(tune_controller)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called by Tune when a trial is proposed or restored; what it will report again leaves the rungs."""
        bracket = bracket_of(self, trial.trial_id)
        super().on_trial_add(tune_controller, trial)
        if trial.is_finished():
            return
        if bracket is None:
            weights = bracket_weights(self)
            (bracket,) = random.Random(f"{self._seed}/{self._added}").choices(range(len(weights)), weights)
            self._added += 1
        put_in_bracket(self, trial.trial_id, bracket)
        saved = trial.latest_checkpoint_result
        epoch = saved.metrics["epoch"] if saved else 0.0
        leave_rungs_after(self, trial.trial_id, epoch)
