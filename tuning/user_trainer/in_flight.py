"""What a Trainer that is given cannot change in the middle of a trial, told before there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def require_perturbable(trainer: Any, spec: ExperimentSpec) -> None:
    """Judge what the strategies of `spec` would change in flight; `trainer_look` judges those of a factory.

    Raises:
        InputError: this Trainer could not go on with another value.
    """
    from trainables.user_trainer.rules import refusals

    for strategy in spec.strategies:
        for refused in refusals(trainer, strategy.changed_in_flight(spec.space_of(strategy))):
            raise refused
