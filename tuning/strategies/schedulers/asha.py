"""Ray's ASHA, which decides again after a restart what had been decided and not yet done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import ASHAScheduler

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class ASHA(ASHAScheduler):  # type: ignore[misc]
    """A trial is entered in a rung when it reports, and stopped when the checkpoint of that report is saved.

    In between the driver may die. The trial then goes on from an older checkpoint and reports again; Ray's own
    scheduler finds it in the rung and takes that for a decision to continue.
    """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is proposed, or restored with the experiment: what it will report again is not in any rung yet."""
        super().on_trial_add(tune_controller, trial)
        if trial.is_finished():
            return
        saved = trial.latest_checkpoint_result
        epoch = saved.metrics["epoch"] if saved else 0.0
        for milestone, recorded in (rung for bracket in self._brackets for rung in bracket._rungs):
            if milestone > epoch:
                recorded.pop(trial.trial_id, None)
