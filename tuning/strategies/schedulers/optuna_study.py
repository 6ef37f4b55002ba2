"""Optuna studies that live in this process alone, for samplers and pruners; the study store has its own.

Such a study can be pickled with its sampler: a copy goes on as it would have. Imports Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

STEPS = 1000  # of an epoch: reports are at least that far apart


class AmendableStorage(InMemoryStorage):
    """A storage in memory, in which a trial that has ended can be given another end: a failed one may run again."""

    def check_trial_is_updatable(self, trial_id: int, trial_state: TrialState) -> None:
        """Called by Optuna before a change; refuses none."""


def study_in_memory(
    modes: Sequence[Literal["max", "min"]],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner | None = None,
    storage: InMemoryStorage | None = None,
) -> optuna.Study:
    """Makes a study without trials, of which no decision depends on when or where it was made.

    Args:
        modes: of the objectives.
        sampler, pruner, storage: of the study.
    """
    # Optuna logs every study that it creates, and samplers each name that they draw independently.
    optuna.logging.get_logger("optuna").setLevel(optuna.logging.ERROR)
    return optuna.create_study(
        storage=storage or InMemoryStorage(),
        study_name="search",
        directions=["maximize" if mode == "max" else "minimize" for mode in modes],
        sampler=sampler,
        pruner=pruner or optuna.pruners.NopPruner(),
    )


def step_of(epoch: float) -> int:
    """The step of Optuna's that a report at `epoch` is."""
    return round(epoch * STEPS)
