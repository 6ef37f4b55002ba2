"""`--across` of `tunefleet compare` and `report`: several experiments at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trainables.errors import InputError
from tuning.core_yaml import parse_recorded_spec
from tuning.run_folder.experiments import load_experiment

if TYPE_CHECKING:
    from tuning.across import Across


def only_one(experiments: Sequence[str]) -> str:
    """The experiment of a command line without `--across`.

    Raises:
        InputError: there are several.
    """
    if len(experiments) > 1:
        given = " ".join(experiments)
        raise InputError("EXPERIMENT", given, "are several", "add --across to compare over them, or name one")
    return experiments[0]


def refuse_with_across(options: Mapping[str, object]) -> None:
    """Refuse options that are about one experiment; None: an option that was not given.

    Raises:
        InputError: one was given.
    """
    for option, value in options.items():
        if value is not None:
            raise InputError(option, value, "is about one experiment", "leave it out, or compare each by itself")


def loaded_across(experiments: Sequence[str], storage: str, store: str | None) -> Across:
    """The comparison over several experiments, each of which is a task.

    Raises:
        InputError: they cannot be compared.
        StoreError: one is in no store, or the store cannot be read.
        UnknownExperiment: there is no run folder of that name.
    """
    from tuning.across import compare_across

    loaded = [load_experiment(experiment, storage, store) for experiment in experiments]
    return compare_across([outcome for outcome, _ in loaded], specs=[parse_recorded_spec(text) for _, text in loaded])
