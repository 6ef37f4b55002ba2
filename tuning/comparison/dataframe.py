"""Converts a comparison to a pandas data frame with the columns of `tunefleet compare --format csv`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from trainables.errors import InputError
from trainables.spec import Value
from tuning.comparison.text import comparison_csv
from tuning.comparison.types import Comparison

if TYPE_CHECKING:
    import pandas as pd


def comparison_frame(comparison: Comparison) -> pd.DataFrame:
    """Returns a row per study, and one per strategy over its seeds, whose `seed` is "all"."""
    import pandas as pd

    texts = dict.fromkeys(("strategy", "kind", "seed"), str)  # a strategy may be called nan
    return pd.read_csv(io.StringIO(comparison_csv(comparison)), dtype=texts, keep_default_na=False, na_values=[""])


def best_params(comparison: Comparison) -> dict[str, Value]:
    """Returns the hyperparameters that the best strategy chose, by name.

    Raises:
        InputError: no trial has a score yet.
    """
    row = comparison.best
    if row is None or row.best is None or row.best.chosen is None:
        step = f"continue its run: `tunefleet resume {comparison.experiment}`"
        raise InputError("experiment", comparison.experiment, "has no score yet", step)
    chosen = row.best.chosen if row.best.confirmed is None else row.best.confirmed.configuration
    return {name: chosen.params[name] for name in chosen.searched if name in chosen.params}
