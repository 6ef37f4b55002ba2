"""Describes how the rows of an experiment overlap with the test rows of earlier experiments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.wording import counted, some

SHOWN = 4  # experiments that a sentence names


@dataclass(frozen=True)
class EarlierEvaluations:
    """The overlap with earlier experiments when this one first evaluated on test.

    Counts are estimates where a split is large.
    """

    rows: int  # test rows
    models: int  # models of earlier experiments that were evaluated on some of them
    seen: int  # test rows that those models were evaluated on
    experiments: tuple[str, ...]  # the names of those earlier experiments
    train_rows: int  # training and validation rows
    trained: int  # how many of these were test rows of an earlier experiment
    trained_from: tuple[str, ...]  # the names of these earlier experiments

    def sentences(self) -> Iterator[str]:
        """Yields the warnings for readers of the test scores; none where all rows are new."""
        if self.models:
            earlier = f"{counted(self.models, 'model')} of earlier experiments ({some(self.experiments, SHOWN)})"
            yield (
                f"Test rows used before: {earlier} were evaluated on {self.seen:,} of the {self.rows:,} test rows. If "
                "a choice was made by those scores, the scores here may be too good."
            )
        if self.trained:
            yield (
                f"{self.trained:,} of the {self.train_rows:,} training and validation rows were test rows of "
                f"{some(self.trained_from, SHOWN)}: test scores of the two experiments do not compare, and models of "
                "this one have no test score on those rows."
            )
