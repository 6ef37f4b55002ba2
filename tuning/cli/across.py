"""`--across` of `tunefleet compare` and `report`: several experiments at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from trainables.errors import InputError
from tuning.run_folder.experiments import load_recorded

if TYPE_CHECKING:
    from tuning.across import Across


def is_across(arguments: argparse.Namespace, *of_one: str) -> bool:
    """True if several experiments are to be compared as tasks.

    Args:
        of_one: options that are about one experiment, and are refused then.

    Raises:
        InputError: several experiments without `--across`, or such an option with it.
    """
    if not arguments.across:
        if arguments.others:
            given = " ".join([arguments.experiment, *arguments.others])
            raise InputError("EXPERIMENT", given, "are several", "add --across to compare over them, or name one")
        return False
    for option in of_one:
        if (value := getattr(arguments, option.removeprefix("--"))) is not None:
            raise InputError(option, value, "is about one experiment", "leave it out, or compare each by itself")
    return True


def across_of(arguments: argparse.Namespace) -> Across:
    """The comparison over the experiments that the words name.

    Raises:
        InputError: they cannot be compared.
        StoreError: one is in no store, or the store cannot be read.
        UnknownExperiment: there is no run folder of that name.
    """
    from tuning.across import compare_across

    given = (arguments.experiment, *arguments.others)
    return compare_across([load_recorded(one, arguments.storage, arguments.store)[0] for one in given])
