"""Local files: CSV, TSV, JSON, JSONL and Parquet, found in a folder or named one by one, read into memory.

Nothing is cached on disk. CSV and TSV are read as texts (the task decides what a label is), an unquoted empty field as
null. `.json` is a list of objects, or one object per line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from trainables.spec import DataSpec
from trainables.tasks import TaskError

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
# What a split's file, or a Hub data set's split, may be called; the first that exists is taken.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "validation_matched", "valid", "val", "dev"),
    "test": ("test", "test_matched"),
}
CSV_BLOCK = 1 << 24  # bytes; a row longer than this cannot be read


Read = TypeVar("Read")


class Table(NamedTuple):
    """Columns of equal length, and the class names of those that carry them (Parquet written by `datasets`)."""

    columns: dict[str, list[Any]]  # those that were asked for
    class_names: dict[str, tuple[str, ...]]
    available: list[str]  # the names of all columns of the source


def locate(options: DataSpec) -> dict[str, list[Path]]:
    """The files of each split; a split without a file is left out. Several files are the shards of one split.

    Raises:
        TaskError: a file that was named, the folder or the training file is missing, or two files fit one split.
    """
    base = Path(options.path).expanduser() if options.path is not None else Path()
    if not base.exists():
        raise TaskError(
            "data.path", str(base), "no such file or folder", "check the path, on every node that runs trials"
        )
    found = {"train": [base]} if base.is_file() else {}
    folder = base.parent if base.is_file() else base
    for split, aliases in ALIASES.items():
        named = getattr(options, split)
        if named is not None:
            found[split] = [_named(split, folder, named)]
        elif base.is_dir() and options.path is not None:
            found[split] = _shards(split, folder, aliases)
    found = {split: paths for split, paths in found.items() if paths}
    if "train" not in found:
        step = f"name it train.csv (or {', '.join(SUFFIXES[1:])}), or set data.train"
        raise TaskError("data.path", str(base), f"has no training file; it holds {_listing(folder)}", step)
    return found


def _named(split: str, folder: Path, name: str) -> Path:
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise TaskError(f"data.{split}", str(path), "no such file", f"{folder} holds {_listing(folder)}")
    return path


def _shards(split: str, folder: Path, aliases: Sequence[str]) -> list[Path]:
    """The files of `folder` called after the split's first alias that occurs: one, or `train-00000-of-00002`, ..."""
    for alias in aliases:
        pattern = re.compile(rf"{alias}(-\d+-of-\d+)?")
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and pattern.fullmatch(p.stem))
        if len(files) > 1 and not all("-of-" in p.stem for p in files):
            both = ", ".join(p.name for p in files)
            raise TaskError("data.path", str(folder), f"{both} all fit one split", f"set data.{split} to one of them")
        if files:
            return files
    return []


def _listing(folder: Path, limit: int = 8) -> str:
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    return (", ".join(names[:limit]) + (", ..." if len(names) > limit else "")) or "nothing"


def column_names(path: Path) -> list[str]:
    """The columns of a file, from its head where the format allows.

    Raises:
        TaskError: the file cannot be read.
    """
    return _guarded(path, _column_names)


def read_columns(path: Path, wanted: Sequence[str]) -> Table:
    """Those of the `wanted` columns that the file has.

    Raises:
        TaskError: the file cannot be read.
    """
    return _guarded(path, lambda p: _read(p, _column_names(p), wanted))


def _guarded(path: Path, read: Callable[[Path], Read]) -> Read:
    kind = path.suffix.lower().removeprefix(".")
    if f".{kind}" not in SUFFIXES:
        step = f"use one of {', '.join(SUFFIXES)}"
        raise TaskError("data.path", str(path), f"a file type {path.suffix!r} cannot be read", step)
    try:
        return read(path)
    except (OSError, ValueError) as error:  # Arrow's, json's and unicode's errors are ValueErrors
        reason = str(error).splitlines()[0]
        raise TaskError(
            "data.path", str(path), f"cannot be read as {kind}: {reason}", "repair or replace it"
        ) from error


def _column_names(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    if path.suffix.lower() in (".csv", ".tsv"):
        from pyarrow import csv

        with csv.open_csv(path, **_dialect(path)) as reader:
            return list(reader.schema.names)
    return list(dict.fromkeys(name for row in _objects(path) for name in row))


def _read(path: Path, available: list[str], wanted: Sequence[str]) -> Table:
    names = [name for name in available if name in wanted]
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=names)
        return Table(table.to_pydict(), _class_names(table.schema.metadata), available)
    if path.suffix.lower() in (".csv", ".tsv"):
        import pyarrow as pa
        from pyarrow import csv

        convert = csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        return Table(csv.read_csv(path, convert_options=convert, **_dialect(path)).to_pydict(), {}, available)
    rows = _objects(path)
    return Table({name: [row.get(name) for row in rows] for name in names}, {}, available)


def _dialect(path: Path) -> dict[str, Any]:
    from pyarrow import csv

    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    return {
        "parse_options": csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "read_options": csv.ReadOptions(block_size=CSV_BLOCK),
    }


def _objects(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8-sig")
    # Not splitlines(): a text may hold U+2028 and others, which JSON leaves unescaped.
    rows = json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(s) for s in text.split("\n") if s.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError('every row must be an object such as {"text": ..., "label": ...}')
    return list(rows)


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """The ClassLabel names that `datasets` leaves in a Parquet file's schema.

    Read from the JSON: `Features.from_arrow_schema` would import datasets, and reject a column of another width.
    """
    info = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info") or {}
    features = (info.get("features") or {}).items()
    return {name: tuple(f["names"]) for name, f in features if f.get("_type") == "ClassLabel" and f.get("names")}
