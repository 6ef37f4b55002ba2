"""Random search with ASHA: hyperopt_asha without its model, to show what early stopping alone is worth."""

from __future__ import annotations

from typing import ClassVar

from tuning.strategies.schedulers.rungs import Rungs
from tuning.strategies.searchers.composed import Composed
from tuning.strategies.searchers.samplers import RandomDraws, Sampler


class RandomAsha(Rungs, Composed):
    """Independent draws with asynchronous successive halving on epochs, as in the paper.

    Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    kind: ClassVar[str] = "random_asha"

    @property
    def proposer(self) -> Sampler:
        """Random draws."""
        return RandomDraws()
