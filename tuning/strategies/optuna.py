"""Optuna's samplers and pruners: what its users know, under the budgets, seeds and resumes of every strategy here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from tuning.strategies import UserStudy
from tuning.strategies.schedulers.rungs import StoppingKeys, StoppingRule
from tuning.strategies.schedulers.stopping import Stopping
from tuning.strategies.searchers.composed import Modelled
from tuning.strategies.searchers.samplers import Sampler


class Optuna(StoppingKeys, Modelled):
    """One of Optuna's samplers, by ask and tell, with a pruner or none.

    `asha` and `hyperband` stop trials as hyperopt_asha does; median, percentile and patient are Optuna's own pruners.
    `random` are the draws of the strategy random.

    Akiba et al., "Optuna", KDD 2019 (arXiv 1907.10902).
    """

    kind: ClassVar[str] = "optuna"

    sampler: Literal["tpe", "gp", "nsga2", "cmaes", "qmc", "random"] = Field(
        "tpe",
        description="tpe, gp (a Gaussian process), nsga2 (generations of initial_random trials), cmaes (pip install "
        "cmaes), qmc (a Sobol sequence) or random; all but cmaes search several objectives, too",
    )
    pruner: StoppingRule = Field(
        "none", description="none, asha, moasha (of several objectives), hyperband, median, percentile or patient"
    )
    multivariate: bool = Field(True, description="tpe: models all names together, not each by itself")
    group: bool | None = Field(
        None, description="tpe: models the names of each branch together; null: where names depend on values"
    )
    study_name: str | None = Field(
        None,
        description="an Optuna study of yours: its trials are learned from, and this strategy's are added to it",
    )
    storage: str | None = Field(
        None, description="database URL of study_name, without a password; null: $TUNEFLEET_OPTUNA_STORAGE"
    )

    @model_validator(mode="after")
    def _keys_are_read(self) -> Optuna:
        self.refuse_unread("pruner", self.pruner)
        self.refuse_unread_draws(self.sampler)
        if self.storage is not None and self.study_name is None:
            raise ValueError("storage holds studies by name; add study_name")
        if self.sampler != "tpe" and (not self.multivariate or self.group is not None):
            raise ValueError(
                f"multivariate and group are read by sampler: tpe, and this is {self.sampler}; remove them"
            )
        if self.group and not self.multivariate:
            raise ValueError("group: true models names together, and multivariate: false each by itself; keep one")
        return self

    @property
    def user_study(self) -> UserStudy | None:
        """The study of `study_name`."""
        return None if self.study_name is None else UserStudy(self.study_name, self.storage)

    def without_user_study(self) -> Optuna:
        """This strategy without `study_name`."""
        return self.model_copy(update={"study_name": None, "storage": None})

    @property
    def proposer(self) -> Sampler:
        """The sampler that `sampler` names."""
        options = {"multivariate": self.multivariate, "group": self.group} if self.sampler == "tpe" else {}
        return self.sampler_named(self.sampler, **options)

    @property
    def stopper(self) -> Stopping:
        """The rule that `pruner` names."""
        return self.rule(self.pruner)
