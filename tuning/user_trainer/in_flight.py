"""The check that a Trainer can continue with other values in the middle of a trial, before the first one starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec


def require_perturbable(trainer: Any, spec: ExperimentSpec) -> None:
    """Check what the strategies of `spec` would change in flight; a factory's Trainers are checked when a run starts.

    Raises:
        InputError: this Trainer could not continue with another value.
    """
    from trainables.user_trainer.rules import refusals

    for strategy in spec.strategies:
        for refused in refusals(trainer, strategy.changed_in_flight(spec.space_of(strategy))):
            raise refused
