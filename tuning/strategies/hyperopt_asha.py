"""HyperOpt's TPE with ASHA: TPE proposes, ASHA stops, so there are many short trials and few long ones."""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.schedulers.rungs import Rungs
from tuning.strategies.searchers.proposals import TpeProposals


class HyperOptAsha(Rungs, TpeProposals, Strategy):
    """Tree-structured Parzen estimator (not a Gaussian process) with asynchronous successive halving on epochs.

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; Li et al., "A system for massively
    parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    kind: ClassVar[str] = "hyperopt_asha"
    weights_only: ClassVar[bool] = True

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search, a first rung beyond the end, and unequal schedules at one rung."""
        return self.space_refusals(space) + self.rung_refusals(space, epochs)

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """TPE with ASHA; the searcher's saved state carries ASHA's rungs."""
        scheduler = self.asha(objective, epochs)
        return self.modelled(space, objective, seed, scheduler)
