"""Proposes a population's first values to Tune, and carries the scheduler's state in Tune's snapshots."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.tune.search import ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.search_generator import SearchGenerator

from trainables.spec import Params
from tuning.strategies.schedulers.population import PopulationScheduler


class PopulationSearcher(Searcher):  # type: ignore[misc]
    """Proposes the members in order. Its saved state is the scheduler's: Tune saves it in one step with the trials."""

    def __init__(self, members: Sequence[Params], scheduler: PopulationScheduler) -> None:
        super().__init__()
        self._members = members
        self._scheduler = scheduler

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Called by a limiter around this; True keeps it from limiting: the scheduler limits, also after a resume."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next member, or None while no slot is left or when all are proposed."""
        if self._scheduler.proposed == len(self._members) or self._scheduler.full:
            return None
        return dict(self._members[self._scheduler.proposed])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Called by Tune; changes nothing."""

    def save(self, checkpoint_path: str) -> None:
        """Write the scheduler's state. Called by Tune with each snapshot of the experiment."""
        Path(checkpoint_path).write_bytes(pickle.dumps(self._scheduler.state()))

    def restore(self, checkpoint_path: str) -> None:
        """Read the scheduler's state. Called by Tune before it adds the trials of the snapshot."""
        self._scheduler.restore_state(pickle.loads(Path(checkpoint_path).read_bytes()))


class PopulationSearch(SearchGenerator):  # type: ignore[misc]
    """The search of a population, which ends with the last member, not with the last proposal.

    Tune keeps idle processes only while a search goes on. The limiter, which limits nothing, lets Tune start the
    processes of all members at once; those of a bare searcher start one after the other.
    """

    def __init__(self, members: Sequence[Params], scheduler: PopulationScheduler) -> None:
        super().__init__(ConcurrencyLimiter(PopulationSearcher(members, scheduler), max_concurrent=len(members)))
        self._scheduler = scheduler

    def is_finished(self) -> bool:
        """True if no trial is to come and none would need a process."""
        return bool(SearchAlgorithm.is_finished(self) or self._scheduler.ended)
