"""Stops trials early by the rank of all their objectives at ASHA's rungs: multi-objective successive halving.

Schmucker et al., "Multi-objective asynchronous successive halving", 2021 (arXiv 2106.12639): at a rung trials are
ranked by non-dominated sorting, and those of one front by an epsilon-net, so that what goes on is spread over it. A
constraint that is broken less goes before all objectives. Where the rungs are, and how many go on at each, is set in
`tuning.strategies.schedulers.rungs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import TrialScheduler

from trainables.epochs import ROUNDING
from trainables.spec import Goal
from tuning.pareto import LossPoint, better_than
from tuning.strategies.schedulers.fifo import FIFO

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class MOASHA(FIFO):
    """Asynchronous successive halving over several objectives, in its stopping form.

    A trial that reports at a rung goes on if it is among the best 1/`reduction_factor` that the rung has seen so far,
    itself included. Like `schedulers.asha.ASHA` it decides again, after a restart, what was decided and not yet done.

    Args:
        goal: the objectives, read from reports as `metrics/<metric>`, and the constraints.
        epochs: of a whole trial.
        grace_epochs: the first rung.
        reduction_factor: each rung is so many times later than the one before.
    """

    def __init__(self, goal: Goal, epochs: float, grace_epochs: float, reduction_factor: float) -> None:
        super().__init__()
        self._goal, self._factor = goal, reduction_factor
        self._rungs: dict[float, dict[str, LossPoint]] = {}  # by epoch, highest first: what each trial reported there
        milestones = [grace_epochs]
        while milestones[-1] * reduction_factor < epochs - ROUNDING:
            milestones.append(milestones[-1] * reduction_factor)
        for milestone in reversed(milestones):
            self._rungs[milestone] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Called by Tune when a trial is proposed or restored; what it will report again leaves the rungs."""
        super().on_trial_add(tune_controller, trial)
        if trial.is_finished():
            return
        saved = trial.latest_checkpoint_result
        epoch = saved.metrics["epoch"] if saved else 0.0
        for milestone, seen in self._rungs.items():
            if milestone > epoch + ROUNDING:
                seen.pop(trial.trial_id, None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Called by Tune with each report but the last: the trial is entered at the highest rung that it has reached.

        If it is there already it goes on. The lower rungs, which a long report may have passed, stay without it: they
        would get the scores of a later epoch.
        """
        reached = next((rung for rung in self._rungs if result["epoch"] >= rung - ROUNDING), None)
        if reached is None or trial.trial_id in self._rungs[reached]:
            return str(TrialScheduler.CONTINUE)
        seen, point = self._rungs[reached], self._point(result)
        seen[trial.trial_id] = point
        points = list(seen.values())
        goes_on = better_than(points, len(points) - 1) < len(points) / self._factor
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _point(self, result: Mapping[str, Any]) -> LossPoint:
        return LossPoint.of(self._goal, {name: float(result[f"metrics/{name}"]) for name in self._goal.metrics})
