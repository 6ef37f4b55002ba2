"""Random draws from a space as a searcher for Tune. Imports Ray: strategies import it inside `plan`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from trainables.spec import Value
from tuning.space import Draws, Space


class RandomSearcher(Searcher):  # type: ignore[misc]
    """Proposes the known points, then random draws, none twice, until the space is used up, and learns nothing.

    Tune decides how many it takes. The saved state carries the scheduler's, which Tune does not save: after a resume
    ASHA's rungs would be empty.
    """

    def __init__(self, space: Space, seed: int, scheduler: TrialScheduler) -> None:
        super().__init__()
        self._space, self._seed, self._scheduler = space, seed, scheduler
        self._draws, self._drawn = Draws(space, seed), 0

    def suggest(self, trial_id: str) -> dict[str, Value] | str:
        """The next draw, or FINISHED after the last one of a finite space."""
        if (params := next(self._draws, None)) is None:
            return str(Searcher.FINISHED)
        self._drawn += 1
        return params

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune; changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Write how many were drawn, and the scheduler's state. Called by Tune with each snapshot."""
        state = {"drawn": self._drawn, "scheduler": vars(self._scheduler)}
        Path(checkpoint_path).write_bytes(cloudpickle.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on after the last saved draw. Called by Tune before it adds the trials of the snapshot."""
        state = cloudpickle.loads(Path(checkpoint_path).read_bytes())
        vars(self._scheduler).update(state["scheduler"])
        self._draws, self._drawn = Draws(self._space, self._seed), 0
        for _ in range(state["drawn"]):
            self.suggest("")
