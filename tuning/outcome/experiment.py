"""All studies of one experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.errors import InputError
from trainables.spec import Value
from trainables.tasks.summary import DataSummary
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.outcome.study import StudyOutcome, best_study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExperimentOutcome:
    """All studies of one experiment."""

    name: str
    digest: str  # of the spec that made it
    studies: tuple[StudyOutcome, ...] = ()

    def study(self, strategy: str, seed: int) -> StudyOutcome:
        """The study of that strategy (its label) and seed.

        Raises:
            KeyError: there is none.
        """
        for study in self.studies:
            if (study.strategy, study.seed) == (strategy, seed):
                return study
        raise KeyError(f"{self.name}: no study of strategy {strategy!r} with seed {seed}")

    @property
    def data(self) -> DataSummary | None:
        """The summary of the data: the same for all studies, so that of the first that has told it."""
        return next((study.data for study in self.studies if study.data is not None), None)

    @property
    def test_memory(self) -> EarlierEvaluations | None:
        """What earlier experiments have to do with the rows: the same for all studies."""
        return next((study.test_memory for study in self.studies if study.test_memory is not None), None)

    @property
    def best_params(self) -> dict[str, Value]:
        """The values that the winner's search has chosen, by hyperparameter; see `StudyOutcome.chosen_params`.

        Raises:
            InputError: no trial has a score yet.
        """
        best = best_study(self.studies)
        if best is None:
            raise InputError(
                "experiment", self.name, "has no score yet", f"go on with its run: `tunefleet resume {self.name}`"
            )
        return best.chosen_params()

    def to_dataframe(self, table: str = "trials") -> pd.DataFrame:
        """A pandas frame of "trials", "reports", "studies" or "confirmations", with the columns of `tunefleet export`.

        Raises:
            InputError: there is no such table.
        """
        from tuning.outcome.dataframe import outcome_frame

        return outcome_frame(self, table)

    def __repr__(self) -> str:
        from tuning.outcome.display import outcome_repr

        return outcome_repr(self)

    def _repr_html_(self) -> str:
        """The HTML that a notebook shows."""
        from tuning.outcome.display import outcome_html

        return outcome_html(self)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, numbers and texts; enumerations as their values, reports as mappings. What models
        said to single rows is left out."""
        from tuning.outcome.as_json import outcome_json

        return outcome_json(self)
