"""HyperOpt's TPE as a searcher for Tune. Its imports take a second: strategies import it inside `plan`."""

from __future__ import annotations

import itertools
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from trainables.spec import Objective, Value
from tuning.space import Draws, Space
from tuning.space.dimensions import Choice
from tuning.tune_compat.hyperopt_search import FailureAwareHyperOpt


class TpeSearcher(FailureAwareHyperOpt):
    """HyperOpt's TPE over the continuous view of a space; what it proposes is cast to legal params.

    TPE models the uncast value, so a whole number or a step is a plain variable to it. A trial that failed is worse
    than any score. A trial that ASHA stopped counts with its last score.

    The random trials before TPE are those of `Draws`, as other strategies make them, not HyperOpt's own: for one seed
    all strategies start from the same points. A cast value lies in its proxy, so it goes in as it is.

    In a finite space nothing is proposed twice: training is the same for the same values and seed, so a repeat would
    teach nothing. Where TPE would repeat, the next draw that is new takes its place, and TPE learns from that.

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
            self.replace_proposal(trial_id, self._as_drawn(params))
        self._proposed.add(repr(params))
        return params

    def _as_drawn(self, params: dict[str, Value]) -> dict[str, Any]:
        """The searched values as HyperOpt draws them: of a choice its index."""
        return {
            name: dimension.values.index(params[name]) if isinstance(dimension, Choice) else params[name]
            for name, dimension in self._declared.searched.items()
        }

    def restore(self, checkpoint_path: str) -> None:
        """Called by Tune before it adds the trials of the snapshot; the scheduler in its hands is filled in place."""
        scheduler = self._scheduler
        super().restore(checkpoint_path)
        vars(scheduler).update(vars(self._scheduler))
        self._scheduler = scheduler
