"""Random search: the baseline for a model of the scores and for early stopping."""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.searchers.proposals import RandomProposals


class Random(RandomProposals, Strategy):
    """Independent draws, none twice, each to its full epochs; ends early where the space has no more configurations.

    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    kind: ClassVar[str] = "random"
    weights_only: ClassVar[bool] = True

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search."""
        return self.space_refusals(space)

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """The epochs of all trials, each to its end."""
        trials = self.planned_trials(space)
        return None if trials is None else trials * epochs

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """Random draws with Tune's first-in-first-out scheduler: nothing is stopped early."""
        from tuning.strategies.schedulers.fifo import FIFO

        scheduler = FIFO()
        return self.drawn(space, seed, scheduler)
