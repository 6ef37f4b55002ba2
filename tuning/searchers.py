"""What proposes params to Tune on behalf of a strategy. Imports Ray: strategies import it inside `plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.hyperopt import HyperOptSearch

from trainables.spec import Objective, Params, Value
from tuning.space import Space


class Listed(Searcher):  # type: ignore[misc]
    """Proposes given params in the given order, and learns nothing."""

    def __init__(self, proposals: Sequence[Params]) -> None:
        super().__init__()
        self._proposals = [dict(params) for params in proposals]
        self._proposed = 0

    def suggest(self, trial_id: str) -> dict[str, Value] | str:
        """The next params, or FINISHED after the last."""
        if self._proposed == len(self._proposals):
            return str(Searcher.FINISHED)
        self._proposed += 1
        return dict(self._proposals[self._proposed - 1])

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """The position; the list itself is rebuilt from the spec."""
        Path(checkpoint_path).write_text(json.dumps({"proposed": self._proposed}))

    def restore(self, checkpoint_path: str) -> None:
        """Go on after the last saved proposal."""
        self._proposed = json.loads(Path(checkpoint_path).read_text())["proposed"]


class TreeParzen(HyperOptSearch):  # type: ignore[misc]
    """HyperOpt's TPE over the continuous view of a space; what it proposes is cast to legal params.

    TPE models the uncast value, so a whole number or a step is a plain variable to it. A trial that failed is marked so
    and left out of the model (`on_trial_complete(error=True)`); one that ASHA stopped counts with its last score.

    Its saved state carries the scheduler's: Tune saves the searcher in one step with the trials, but the scheduler not
    at all, so that after a resume ASHA's rungs would be empty (https://github.com/ray-project/ray/issues/30838).
    """

    def __init__(
        self, space: Space, objective: Objective, initial_random: int, seed: int, scheduler: TrialScheduler
    ) -> None:
        super().__init__(
            space.to_hyperopt(),
            metric=f"metrics/{objective.metric}",
            mode=objective.mode,
            n_initial_points=initial_random,
            random_state_seed=seed,
        )
        self._declared = space
        self._scheduler = scheduler

    def suggest(self, trial_id: str) -> dict[str, Value] | None:
        """Legal params, the fixed ones included."""
        raw = super().suggest(trial_id)
        return None if raw is None else self._declared.from_hyperopt(raw)

    def restore(self, checkpoint_path: str) -> None:
        """Called by Tune before it adds the trials of the snapshot; the scheduler in its hands is filled in place."""
        scheduler = self._scheduler
        super().restore(checkpoint_path)
        vars(scheduler).update(vars(self._scheduler))
        self._scheduler = scheduler
