"""What earlier experiments have to do with an experiment's rows: who has looked at its test rows before it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.wording import counted, some

SHOWN = 4  # experiments by name


@dataclass(frozen=True)
class EarlierEvaluations:
    """As it was when the experiment first looked at its test rows; counts are estimates where a split is large."""

    rows: int  # test rows
    models: int  # of earlier experiments that had looked at some of them
    seen: int  # test rows that they had looked at
    experiments: tuple[str, ...]  # theirs, by name
    train_rows: int  # training and validation rows
    trained: int  # of them, test rows of an earlier experiment
    trained_from: tuple[str, ...]  # those experiments, by name

    def sentences(self) -> Iterator[str]:
        """What a reader of this experiment's test scores has to know; nothing where all rows are new."""
        if self.models:
            looked = f"{counted(self.models, 'model')} of earlier experiments ({some(self.experiments, SHOWN)})"
            yield (
                f"Test rows met before: {looked} had looked at {self.seen:,} of the {self.rows:,} test rows; whoever "
                "chose by those scores has chosen by these rows, and scores on them may be too good."
            )
        if self.trained:
            yield (
                f"{self.trained:,} of the {self.train_rows:,} training and validation rows were test rows of "
                f"{some(self.trained_from, SHOWN)}: the test scores of the two do not compare, and models of this one "
                "have no test score on those rows."
            )
