"""Results as pandas data frames, with the columns of `tunefleet export` and of `tunefleet compare --format csv`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from trainables.errors import InputError, nearest
from trainables.spec import Value
from tuning.comparison import Comparison
from tuning.comparison.text import comparison_csv
from tuning.given import short
from tuning.outcome.results import ExperimentOutcome
from tuning.outcome.tables import tables_of

if TYPE_CHECKING:
    import pandas as pd


def outcome_frame(outcome: ExperimentOutcome, table: str) -> pd.DataFrame:
    """Makes a frame of one of the tables of `tunefleet export`.

    Raises:
        InputError: there is no such table.
    """
    import pandas as pd

    tables = tables_of(outcome)
    if not isinstance(table, str) or table not in tables:
        raise InputError("table", short(table), "no such table", nearest(str(table), tables))
    return pd.DataFrame.from_records(tables[table])


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """A row per strategy and seed, and one per strategy over its seeds, whose `seed` is "all"."""
    import pandas as pd

    texts = dict.fromkeys(("strategy", "kind", "seed"), str)  # a strategy may be called nan
    return pd.read_csv(io.StringIO(comparison_csv(comparison)), dtype=texts, keep_default_na=False, na_values=[""])


def best_params(comparison: Comparison) -> dict[str, Value]:
    """The values that the winner's strategy has chosen, by hyperparameter.

    Raises:
        InputError: no trial has a score yet.
    """
    row = comparison.best
    if row is None or row.best is None or row.best.chosen is None:
        step = f"go on with its run: `tunefleet resume {comparison.experiment}`"
        raise InputError("experiment", comparison.experiment, "has no score yet", step)
    chosen = row.best.chosen if row.best.confirmed is None else row.best.confirmed.configuration
    return {name: chosen.params[name] for name in chosen.searched if name in chosen.params}
