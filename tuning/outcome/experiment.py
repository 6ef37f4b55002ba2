"""The outcome of one experiment: all its studies."""

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
    """The outcome of one experiment: all its studies."""

    name: str
    digest: str  # of the spec that made it
    studies: tuple[StudyOutcome, ...] = ()

    def study(self, strategy: str, seed: int) -> StudyOutcome:
        """Returns the study with that strategy label and seed.

        Raises:
            KeyError: there is no such study.
        """
        for study in self.studies:
            if (study.strategy, study.seed) == (strategy, seed):
                return study
        raise KeyError(f"{self.name}: no study of strategy {strategy!r} with seed {seed}")

    @property
    def data(self) -> DataSummary | None:
        """The summary of the data, which is the same for all studies; None if none recorded it."""
        return next((study.data for study in self.studies if study.data is not None), None)

    @property
    def test_memory(self) -> EarlierEvaluations | None:
        """Earlier evaluations on the test rows, the same for all studies; None if none recorded them."""
        return next((study.test_memory for study in self.studies if study.test_memory is not None), None)

    @property
    def has_test_score(self) -> bool:
        """True if a test score is recorded, so that a verdict on this experiment may have been seen."""
        return any(
            study.test is not None
            or study.front_tests
            or any(one.test is not None for one in study.confirmations)
            or any(model.metrics for model in study.finals)
            for study in self.studies
        )

    @property
    def best_params(self) -> dict[str, Value]:
        """The hyperparameters that the best study chose, by name; see `StudyOutcome.chosen_params`.

        Raises:
            InputError: no trial has a score yet.
        """
        best = best_study(self.studies)
        if best is None:
            raise InputError(
                "experiment", self.name, "has no score yet", f"continue its run: `tunefleet resume {self.name}`"
            )
        return best.chosen_params()

    def to_dataframe(self, table: str = "trials") -> pd.DataFrame:
        """Returns a pandas data frame with the columns of `tunefleet export`.

        Args:
            table: "trials", "reports", "studies", "confirmations" or "front".

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
        """Converts the outcome to dictionaries, lists, numbers and texts.

        Enumerations become their values, reports become mappings. Predictions of single rows are left out.
        """
        from tuning.outcome.as_json import outcome_json

        return outcome_json(self)
