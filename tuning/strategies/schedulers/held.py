"""Members of a population that have reached the end of a generation before others: each keeps its process, idle.

To pause one costs that it is restored later: a new model, and its state from the checkpoint that it has anyway. That
is worth it if the slot computes meanwhile: for another member at once, for another study after a short wait, since
members of equal pace arrive together.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial

from trainables.machine import clock
from tuning.tune_compat.population import process_alive, train_on

KEPT = 0.05  # of the time of a member's last report: so long its slot is not given to another study


class HeldMembers:
    """The held members, by the ids of their trials."""

    def __init__(self) -> None:
        self._kept_until: dict[str, float] = {}

    def __contains__(self, trial: Trial) -> bool:
        return trial.trial_id in self._kept_until

    def add(self, trial: Trial, result: dict[str, Any]) -> None:
        """Hold a member after its report `result`."""
        self._kept_until[trial.trial_id] = clock.monotonic() + KEPT * result.get("time_this_iter_s", 0.0)

    def discard(self, trial: Trial) -> None:
        """Hold a member no longer."""
        self._kept_until.pop(trial.trial_id, None)

    def clear(self) -> None:
        """Let go of every held member."""
        self._kept_until.clear()

    def waiting(self) -> set[str]:
        """The members that have waited long enough to be paused for another study."""
        now = clock.monotonic()
        return {trial_id for trial_id, until in self._kept_until.items() if now >= until}

    def pause(self, runner: Any, trial: Trial) -> bool:
        """Take a held member, whose checkpoint is saved, from its process; False if the process has died."""
        self.discard(trial)
        if not process_alive(trial):
            train_on(runner, trial)  # fails at once; Tune then queues the member again, and it is parked
            return False
        runner.pause_trial(trial, should_checkpoint=False)
        return True
