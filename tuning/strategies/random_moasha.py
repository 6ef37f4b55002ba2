"""Random search that stops trials by all objectives at ASHA's rungs: for a search of several objectives."""

from __future__ import annotations

from typing import ClassVar

from tuning.strategies.schedulers.rungs import Rungs
from tuning.strategies.schedulers.stopping import RankedHalving, Stopping
from tuning.strategies.searchers.composed import Composed
from tuning.strategies.searchers.samplers import RandomDraws, Sampler


class RandomMoasha(Rungs, Composed):
    """Independent draws with asynchronous successive halving by non-dominated rank.

    With one objective the rank is that of its scores. Schmucker et al., "Multi-objective asynchronous successive
    halving", 2021 (arXiv 2106.12639).
    """

    kind: ClassVar[str] = "random_moasha"

    @property
    def proposer(self) -> Sampler:
        """Random draws."""
        return RandomDraws()

    @property
    def stopper(self) -> Stopping:
        """MOASHA."""
        return RankedHalving(self.grace_epochs, self.compare_unequal_schedules, self.reduction_factor)
