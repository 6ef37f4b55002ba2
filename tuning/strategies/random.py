"""Random search: what a model of the scores, or stopping early, has to beat."""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.searchers.proposals import DrawnProposals


class Random(DrawnProposals, Strategy):
    """Independent draws, none twice, each to its full epochs; ends early where the space has no more configurations.

    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    kind: ClassVar[str] = "random"
    weights_only: ClassVar[bool] = True

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Nothing to search."""
        return self.space_refusals(space)

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """All trials, each to its end."""
        trials = self.planned_trials(space)
        return None if trials is None else trials * epochs

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """First come, first served; nothing is stopped early."""
        from ray.tune.schedulers import FIFOScheduler

        scheduler = FIFOScheduler()
        return self.drawn(space, seed, scheduler)
