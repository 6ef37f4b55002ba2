"""HyperOpt's TPE without early stopping: hyperopt_asha without ASHA, to show what the model alone is worth."""

from __future__ import annotations

from typing import ClassVar

from tuning.strategies.searchers.composed import Modelled
from tuning.strategies.searchers.samplers import HyperOptTpe, Sampler


class HyperOpt(Modelled):
    """Tree-structured Parzen estimator, each trial to its full epochs; it learns from last scores.

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.
    """

    kind: ClassVar[str] = "hyperopt"

    @property
    def proposer(self) -> Sampler:
        """TPE after the random trials."""
        return HyperOptTpe(self.random_trials)
