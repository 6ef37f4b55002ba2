"""HyperOpt's TPE without early stopping: hyperopt_asha without ASHA, to show what the model alone is worth."""

from __future__ import annotations

from typing import ClassVar

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy
from tuning.strategies.searchers.proposals import TpeProposals


class HyperOpt(TpeProposals, Strategy):
    """Tree-structured Parzen estimator, each trial to its full epochs; it learns from last scores.

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.
    """

    kind: ClassVar[str] = "hyperopt"
    weights_only: ClassVar[bool] = True

    def refusals(self, space: Space, epochs: float) -> list[tuple[str, str]]:
        """Refuses a space with nothing to search."""
        return self.space_refusals(space)

    def planned_epochs(self, space: Space, epochs: float) -> float | None:
        """The epochs of all trials, each to its end."""
        trials = self.planned_trials(space)
        return None if trials is None else trials * epochs

    def plan(self, space: Space, objective: Objective, epochs: float, seed: int) -> Plan:
        """TPE with Tune's first-in-first-out scheduler."""
        from tuning.strategies.schedulers.fifo import FIFO

        scheduler = FIFO()
        return self.modelled(space, objective, seed, scheduler)
