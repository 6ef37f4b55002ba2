"""Converts an outcome to pandas data frames with the columns of `tunefleet export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import InputError, nearest
from tuning.argument_checks import shortened
from tuning.outcome.experiment import ExperimentOutcome
from tuning.outcome.tables import outcome_tables

if TYPE_CHECKING:
    import pandas as pd


def outcome_frame(outcome: ExperimentOutcome, table: str) -> pd.DataFrame:
    """Returns one of the tables of `tunefleet export` as a data frame.

    Raises:
        InputError: there is no such table.
    """
    import pandas as pd

    tables = outcome_tables(outcome)
    if not isinstance(table, str) or table not in tables:
        raise InputError("table", shortened(table), "no such table", nearest(str(table), tables))
    return pd.DataFrame.from_records(tables[table])
