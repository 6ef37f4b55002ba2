"""Random search with ASHA: hyperopt_asha without its model, to show what early stopping alone is worth."""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.schedulers.rungs import Rungs
from tuning.strategies.searchers.proposals import RandomProposals


class RandomAsha(Rungs, RandomProposals, Strategy):
    """Independent draws with asynchronous successive halving on epochs, as in the paper.

    Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    kind: ClassVar[str] = "random_asha"
    weights_only: ClassVar[bool] = True

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search, a first rung beyond the end, and unequal schedules at one rung."""
        return self.space_refusals(space) + self.rung_refusals(space, epochs)

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """Random draws with ASHA; the searcher's saved state carries ASHA's rungs."""
        scheduler = self.asha(objective, epochs)
        return self.drawn(space, seed, scheduler)
