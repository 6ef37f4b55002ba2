"""HyperOpt's TPE for Tune. Its imports (SciPy's statistics among them) take a second: only its strategy makes them."""

from __future__ import annotations

import itertools
from typing import Any

from hyperopt import JOB_STATE_DONE, STATUS_FAIL
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.hyperopt import HyperOptSearch

from trainables.spec import Objective, Value
from tuning.space import Draws, Space
from tuning.space.dimensions import Choice


class TreeParzen(HyperOptSearch):  # type: ignore[misc]
    """HyperOpt's TPE over the continuous view of a space; what it proposes is cast to legal params.

    TPE models the uncast value, so a whole number or a step is a plain variable to it. A trial that failed is worse
    than any score; Ray leaves it out of the model, which then proposes its like again and again. One that ASHA stopped
    counts with its last score.

    The random ones before it are those of `Draws`, as other strategies make them, not HyperOpt's own: for one seed all
    start from the same points. A cast value lies in its proxy, so it goes in as it is.

    In a finite space nothing is proposed twice: training is the same for the same values and seed, so a repeat would
    tell nothing. Where TPE would repeat, the next draw that is new takes its place, and TPE learns from that.

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
        self._draws, self._proposed = Draws(space, seed), set[str]()  # read and filled in a finite space alone
        self._failed: dict[str, Any] = {}  # what HyperOpt knows a failed trial by, should it run again
        self._scheduler = scheduler

    def suggest(self, trial_id: str) -> dict[str, Value] | str | None:
        """Legal params, the fixed ones included; FINISHED when a finite space is used up."""
        if len(self._proposed) == self._declared.size:
            return str(Searcher.FINISHED)
        raw = super().suggest(trial_id)
        if raw is None:
            return None
        params = self._declared.from_hyperopt(raw)
        if self._declared.size is None:
            return params
        if repr(params) in self._proposed:
            params = next(new for new in self._draws if repr(new) not in self._proposed)
            self._replace(trial_id, params)
        self._proposed.add(repr(params))
        return params

    def _replace(self, trial_id: str, params: dict[str, Value]) -> None:
        """Have HyperOpt's record of the proposal hold `params`: its score then counts for them."""
        values = self._get_hyperopt_trial(trial_id)["misc"]["vals"]
        for name, dimension in self._declared.searched.items():
            values[name] = [dimension.values.index(params[name]) if isinstance(dimension, Choice) else params[name]]
        self._hpopt_trials.refresh()

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
