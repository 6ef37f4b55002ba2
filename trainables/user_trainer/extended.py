"""A factory with what a search adds to the Trainers that it makes: an objective of the user's, rows for the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Objective = Callable[[dict[str, float]], float]


class Extended:
    """Called with a trial's values, returns the Trainer of `make_trainer` for them, with two more attributes.

    Args:
        make_trainer: the factory.
        compute_objective: of the metrics of an evaluation, with their prefix `eval_`; reported as `objective`.
        test_dataset: scored once, at the end.
    """

    def __init__(self, make_trainer: Any, compute_objective: Objective | None, test_dataset: Any) -> None:
        self.make_trainer, self.compute_objective, self.test_dataset = make_trainer, compute_objective, test_dataset

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """A Trainer with these values."""
        trainer = self.make_trainer(params)
        if self.compute_objective is not None:
            trainer.compute_objective = self.compute_objective
        if self.test_dataset is not None:
            trainer.test_dataset = self.test_dataset
        return trainer
