"""HyperOpt's TPE as a searcher for Tune. Its imports take a second: strategies import it inside `plan`."""

from __future__ import annotations

import itertools
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from trainables.spec import Objective, Params, Value
from tuning.space import Draws, Space
from tuning.space.dimensions import Choice
from tuning.tune_compat.hyperopt_search import FailureAwareHyperOpt


class TpeSearcher(FailureAwareHyperOpt):
    """HyperOpt's TPE over the continuous view of a space; what it proposes is cast to legal params.

    A whole number or a step is a plain variable to TPE; it learns from the values that were trained, the cast ones. A
    trial that failed is worse than any score. A trial that ASHA stopped counts with its last score.

    The trials before TPE are those of `Draws`, as other strategies make them, not HyperOpt's own: for one seed all
    strategies start from the same points. A cast value lies in its proxy, so it goes in as it is.

    In a finite space nothing is proposed twice: training is the same for the same values and seed, so a repeat would
    teach nothing. Where TPE would repeat, the next draw that is new takes its place, and TPE learns from that.

    The trials of earlier experiments that the space knows are told to the model as if this search had proposed them,
    in their order and with the random numbers that it would have used: what follows is what would have followed then.

    Its saved state carries the scheduler's: Tune saves the searcher in one step with the trials, but the scheduler not
    at all, so that after a resume ASHA's rungs would be empty (https://github.com/ray-project/ray/issues/30838).
    """

    def __init__(
        self, space: Space, objective: Objective, initial_random: int, seed: int, scheduler: TrialScheduler
    ) -> None:
        known = space.knowledge
        drawn = max(len(known.points), initial_random - len(known.trials))
        # Earlier trials stand where random ones would; those behind them, where TPE's own proposals would.
        as_drawn = [trial.params for trial in known.trials[:initial_random]]
        self._first = list(itertools.islice(Draws(space, seed), drawn))
        super().__init__(
            space.to_hyperopt(),
            points_to_evaluate=[_point(space, params) for params in (*as_drawn, *self._first)],
            metric=f"metrics/{objective.metric}",
            mode=objective.mode,
            n_initial_points=len(as_drawn) + len(self._first),
            random_state_seed=seed,
        )
        self._declared = space
        self._draws, self._proposed = Draws(space, seed), set[str]()  # read and filled in a finite space alone
        self._scheduler = scheduler
        for number, trial in enumerate(known.trials):
            values = space.drawn_by_hyperopt(trial.params) if number >= len(as_drawn) else None
            self.import_trial(f"earlier trial {number}", values, trial.score)
            self._proposed.add(repr(trial.params))
        self._asked = 0  # number of proposals

    def suggest(self, trial_id: str) -> dict[str, Value] | str | None:
        """Legal params, the fixed ones included; FINISHED when a finite space is used up."""
        if len(self._proposed) == self._declared.size:
            return str(Searcher.FINISHED)
        raw = super().suggest(trial_id)
        if raw is None:
            return None
        first, self._asked = self._first[self._asked : self._asked + 1], self._asked + 1
        # The first ones as they are: through a prior's density they come back with other last digits.
        params = dict(first[0]) if first else self._declared.from_hyperopt(raw)
        if self._declared.size is not None:
            if not first and repr(params) in self._proposed:
                params = next(new for new in self._draws if repr(new) not in self._proposed)
            self._proposed.add(repr(params))
        self.replace_proposal(trial_id, self._declared.drawn_by_hyperopt(params))
        return params

    def restore(self, checkpoint_path: str) -> None:
        """Called by Tune before it adds the trials of the snapshot; the scheduler in its hands is filled in place."""
        scheduler = self._scheduler
        super().restore(checkpoint_path)
        vars(scheduler).update(vars(self._scheduler))
        self._scheduler = scheduler


def _point(space: Space, params: Params) -> dict[str, Any]:
    """The searched values of a configuration as Ray's searcher takes them: as drawn, but of a choice the value."""
    drawn = space.drawn_by_hyperopt(params)
    return {name: params[name] if isinstance(space.root[name], Choice) else value for name, value in drawn.items()}
