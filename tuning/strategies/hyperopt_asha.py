"""HyperOpt's TPE with ASHA: TPE proposes, ASHA stops, so there are many short trials and few long ones."""

from __future__ import annotations

from typing import ClassVar

from tuning.strategies.schedulers.rungs import Rungs
from tuning.strategies.searchers.composed import Modelled
from tuning.strategies.searchers.samplers import HyperOptTpe, Sampler


class HyperOptAsha(Rungs, Modelled):
    """Tree-structured Parzen estimator (not a Gaussian process) with asynchronous successive halving on epochs.

    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011; Li et al., "A system for massively
    parallel hyperparameter tuning", MLSys 2020 (arXiv 1810.05934).
    """

    kind: ClassVar[str] = "hyperopt_asha"

    @property
    def proposer(self) -> Sampler:
        """TPE after the random trials."""
        return HyperOptTpe(self.random_trials)
