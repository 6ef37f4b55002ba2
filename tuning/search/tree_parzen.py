"""HyperOpt's TPE for Tune. Its imports (SciPy's statistics among them) take a second: only its strategy makes them."""

from __future__ import annotations

import itertools
from typing import Any

from hyperopt import JOB_STATE_DONE, STATUS_FAIL
from ray.tune.schedulers import TrialScheduler
from ray.tune.search.hyperopt import HyperOptSearch

from trainables.spec import Objective, Value
from tuning.space import Draws, Space


class TreeParzen(HyperOptSearch):  # type: ignore[misc]
    """HyperOpt's TPE over the continuous view of a space; what it proposes is cast to legal params.

    TPE models the uncast value, so a whole number or a step is a plain variable to it. A trial that failed is worse
    than any score; Ray leaves it out of the model, which then proposes its like again and again. One that ASHA stopped
    counts with its last score.

    The random ones before it are those of `Draws`, as other strategies make them, not HyperOpt's own: for one seed all
    start from the same points, none twice (TPE itself may propose one again). A cast value lies in its proxy, so it
    goes in as it is.

    Its saved state carries the scheduler's: Tune saves the searcher in one step with the trials, but the scheduler not
    at all, so that after a resume ASHA's rungs would be empty (https://github.com/ray-project/ray/issues/30838).
    """

    def __init__(
        self, space: Space, objective: Objective, initial_random: int, seed: int, scheduler: TrialScheduler
    ) -> None:
        first = list(itertools.islice(Draws(space, seed), initial_random))
        super().__init__(
            space.to_hyperopt(),
            points_to_evaluate=[{name: params[name] for name in space.searched} for params in first],
            metric=f"metrics/{objective.metric}",
            mode=objective.mode,
            n_initial_points=len(first),
            random_state_seed=seed,
        )
        self._declared = space
        self._failed: dict[str, Any] = {}  # what HyperOpt knows a failed trial by, should it run again
        self._scheduler = scheduler

    def suggest(self, trial_id: str) -> dict[str, Value] | None:
        """Legal params, the fixed ones included."""
        raw = super().suggest(trial_id)
        return None if raw is None else self._declared.from_hyperopt(raw)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """HyperOpt takes a trial that is done and has no loss for an infinite one."""
        if trial_id in self._failed:  # it has run again
            self._live_trial_mapping[trial_id] = self._failed.pop(trial_id)
        known, proposal = self._live_trial_mapping.get(trial_id), self._get_hyperopt_trial(trial_id)
        super().on_trial_complete(trial_id, result, error)
        if error and proposal is not None:
            self._failed[trial_id] = known
            proposal["state"], proposal["result"] = JOB_STATE_DONE, {"status": STATUS_FAIL}
            self._hpopt_trials.refresh()

    def restore(self, checkpoint_path: str) -> None:
        """Called by Tune before it adds the trials of the snapshot; the scheduler in its hands is filled in place."""
        scheduler = self._scheduler
        super().restore(checkpoint_path)
        vars(scheduler).update(vars(self._scheduler))
        self._scheduler = scheduler
