"""Any sampler beside any stopping rule, by name: the parts of BOHB are `sampler: tpe` and `stopping: hyperband`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tuning.strategies.schedulers.rungs import StoppingKeys, StoppingRule
from tuning.strategies.schedulers.stopping import Stopping
from tuning.strategies.searchers.composed import Modelled
from tuning.strategies.searchers.samplers import Sampler


class Custom(StoppingKeys, Modelled):
    """A sampler and a stopping rule that are chosen by name.

    `tpe` is Optuna's, over all names together, and `hyperopt` is HyperOpt's, each name by itself. Falkner et al.,
    "BOHB", ICML 2018 (arXiv 1807.01774), for a model of all names beside Hyperband.
    """

    kind: ClassVar[str] = "custom"

    sampler: Literal["random", "hyperopt", "tpe", "gp", "nsga2", "cmaes", "qmc"] = Field(
        "tpe", description="random, hyperopt (its TPE), or Optuna's tpe, gp, nsga2, cmaes (pip install cmaes) or qmc"
    )
    stopping: StoppingRule = Field(
        "asha", description="none, asha, moasha (of several objectives), hyperband, median, percentile or patient"
    )

    @model_validator(mode="after")
    def _keys_are_read(self) -> Custom:
        self.refuse_unread("stopping", self.stopping)
        self.refuse_unread_draws(self.sampler)
        return self

    @property
    def proposer(self) -> Sampler:
        """The sampler that `sampler` names."""
        return self.sampler_named(self.sampler)

    @property
    def stopper(self) -> Stopping:
        """The rule that `stopping` names."""
        return self.rule(self.stopping)
