"""Random search: the baseline for a model of the scores and for early stopping."""

from __future__ import annotations

from typing import ClassVar

from tuning.strategies.searchers.composed import Composed
from tuning.strategies.searchers.samplers import RandomDraws, Sampler


class Random(Composed):
    """Independent draws, none twice, each to its full epochs; ends early where the space has no more configurations.

    Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 2012.
    """

    kind: ClassVar[str] = "random"

    @property
    def proposer(self) -> Sampler:
        """Random draws."""
        return RandomDraws()
