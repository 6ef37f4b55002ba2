"""A factory whose Trainers also have what a search adds: the user's objective, and test rows.

Shipped files hold pickles of `Extended`: its name and its attributes must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainables.user_trainer.originals import Originals

Objective = Callable[[dict[str, float]], float]


class Extended:
    """A factory that sets `compute_objective` and `test_dataset` on the Trainers of another factory.

    Args:
        make_trainer: the other factory.
        compute_objective: a function of an evaluation's metrics (with the prefix `eval_`), reported as `objective`;
            None: not set.
        test_dataset: rows that are scored once, at the end; None: not set.
    """

    def __init__(self, make_trainer: Any, compute_objective: Objective | None, test_dataset: Any) -> None:
        self.make_trainer, self.compute_objective, self.test_dataset = make_trainer, compute_objective, test_dataset

    @property
    def originals(self) -> Originals | None:
        """The originals of the factory that this one extends; None if it was made of no Trainer."""
        found: Originals | None = getattr(self.make_trainer, "originals", None)
        return found

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """Builds a Trainer with a trial's values."""
        trainer = self.make_trainer(params)
        if self.compute_objective is not None:
            trainer.compute_objective = self.compute_objective
        if self.test_dataset is not None:
            trainer.test_dataset = self.test_dataset
        return trainer
