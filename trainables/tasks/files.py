"""Finds and reads local data files: CSV, TSV, text with separators, JSON, JSONL and Parquet.

Files are read into memory; nothing is cached on disk. All but Parquet may be compressed by gzip (`train.csv.gz`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.models.weight_files import POINTER
from trainables.spec import DataSpec
from trainables.tasks import TaskError
from trainables.tasks.decoding import NO_TEXT, decode_file
from trainables.tasks.delimited import read_delimited
from trainables.tasks.json_files import read_json_rows
from trainables.tasks.tables import RawTable, ReadOptions

DELIMITED: Mapping[str, str] = {".csv": ",", ".tsv": "\t", ".txt": ","}  # suffix: usual separator
SUFFIXES = (*DELIMITED, ".json", ".jsonl", ".parquet")
# Names of a split's file, or of a Hub data set's split; the first that exists is used.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "validation_matched", "valid", "val", "dev"),
    "test": ("test", "test_matched"),
}
LISTED = 20  # names of ignored files that are listed


def split_files(options: DataSpec) -> dict[str, list[Path]]:
    """Finds the files of each split; several files are shards of one split. A split without a file is left out.

    Raises:
        TaskError: a named file, the folder or the training file is missing, or two files match one split.
    """
    base = Path(options.path).expanduser() if options.path is not None else Path()
    if not base.exists():
        rule = f"no such file or folder, looked in {base.absolute().parent}"
        raise TaskError("data.path", str(base), rule, "check the path, on every node that runs trials")
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
        step = _other_layout(folder) or step
        raise TaskError("data.path", str(base), f"has no training file; it holds {_listing(folder)}", step)
    return found


def _other_layout(folder: Path) -> str | None:
    """The next step for a folder of texts per class, or of `datasets`' save_to_disk; None: it is neither."""
    if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        return (
            "it is what save_to_disk writes: load_from_disk it, and write each split with to_parquet('train.parquet')"
        )
    folders = [inner for inner in (folder, folder / "train") if any(inner.glob("*/*.txt"))]
    if folders:
        return (
            f"{folders[0]} holds a folder of texts per class: write one table with a row per text, such as train.csv "
            "with the columns text,label"
        )
    return None


def _named(split: str, folder: Path, name: str) -> Path:
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise TaskError(f"data.{split}", str(path), "no such file", f"{folder} holds {_listing(folder)}")
    return path


def _shards(split: str, folder: Path, aliases: Sequence[str]) -> list[Path]:
    """The files named after the first of the split's aliases that occurs: one, or shards `train-00000-of-00002`, ..."""
    for alias in aliases:
        pattern = re.compile(rf"{alias}(-\d+-of-\d+)?")
        files = sorted(
            p for p in folder.iterdir() if file_format(p) and pattern.fullmatch(Path(_unpacked_name(p)).stem)
        )
        if len(files) > 1 and not all("-of-" in p.name for p in files):
            both = ", ".join(p.name for p in files)
            raise TaskError("data.path", str(folder), f"{both} all fit one split", f"set data.{split} to one of them")
        if files:
            return files
    return []


def ignored_files(options: DataSpec, used: Collection[Path]) -> tuple[str, ...]:
    """The names of data files in the folder, by their suffix, that belong to no split."""
    folder = Path(options.path).expanduser() if options.path is not None else Path()
    if options.path is None or not folder.is_dir():
        return ()
    left = sorted(p.name for p in folder.iterdir() if p.is_file() and p not in used and _may_hold_rows(p))
    return tuple(left[:LISTED]) + ((f"and {len(left) - LISTED} more",) if len(left) > LISTED else ())


def _may_hold_rows(path: Path) -> bool:
    return file_format(path) is not None or path.suffix.lower() in (".xlsx", ".xls", ".arrow", ".zip", ".gz")


def _listing(folder: Path, limit: int = 8) -> str:
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    return (", ".join(names[:limit]) + (", ..." if len(names) > limit else "")) or "nothing"


def needed_columns(options: DataSpec) -> tuple[str, ...]:
    """The columns that are read besides the label: the texts, and the groups."""
    return tuple(dict.fromkeys([*(options.text or ()), *([] if options.group is None else [options.group])]))


def read_table(path: Path, options: DataSpec, limit: int | None = None) -> RawTable:
    """Reads the text, group and label columns that the file has.

    Args:
        path: of the file.
        options: column names, encoding, separator.
        limit: bytes to read at most, in complete rows; of Parquet, at least one row group.

    Raises:
        TaskError: the file cannot be read.
    """
    kind = file_format(path)
    if kind is None:
        raise _unknown_kind(path)
    texts, label = needed_columns(options), str(options.label)
    try:
        if kind == ".parquet":
            return _read_parquet(path, (*texts, label), limit, options.encoding or "utf-8")
        content = decode_file(path, options.encoding, limit)
    except (OSError, ValueError, NotImplementedError) as error:
        if isinstance(error, TaskError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]  # Arrow's errors are of these types
        rule = f"cannot be read as {kind.removeprefix('.')}: {reason}"
        raise TaskError("data.path", str(path), rule, "repair or replace it") from error
    if kind in DELIMITED:
        return read_delimited(path, content, DELIMITED[kind], options, (*texts, label))
    return read_json_rows(path, content, texts, label)


def file_format(path: Path) -> str | None:
    """The suffix that determines the format (`.csv` for `x.csv.gz`); None if the format cannot be read."""
    suffix = Path(_unpacked_name(path)).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def _unpacked_name(path: Path) -> str:
    return path.name[:-3] if path.suffix.lower() == ".gz" else path.name


def _unknown_kind(path: Path) -> TaskError:
    suffix = path.suffix.lower()
    step = f"use one of {', '.join(SUFFIXES)}"
    if suffix in (".xlsx", ".xls", ".xlsm", ".ods"):
        step = "export the sheet as CSV (UTF-8)"
    elif suffix in (".arrow", ".feather", ".h5", ".pkl", ".pickle"):
        step = "write it as Parquet or CSV, such as pandas' to_parquet"
    elif suffix in (".zip", ".bz2", ".xz", ".zst", ".7z", ".tar"):
        step = "unpack it (.gz alone is unpacked here)"
    elif not suffix:
        return TaskError(
            "data.path", str(path), "has no suffix that tells how to read it", f"rename it; endings: {step[11:]}"
        )
    return TaskError("data.path", str(path), f"a file type {path.suffix!r} cannot be read", step)


def _read_parquet(path: Path, wanted: Sequence[str], limit: int | None, encoding: str) -> RawTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            raise TaskError("data.path", str(path), *NO_TEXT[POINTER])
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        available = list(schema.names)
        names = [name for name in dict.fromkeys(available) if name in wanted]
        size = path.stat().st_size
        groups = range(file.num_row_groups)
        if limit is not None and size > limit:
            groups = range(max(1, file.num_row_groups * limit // size))
        complete = len(groups) == file.num_row_groups
        columns: dict[str, list[Any]] = {}
        for name in names if all(available.count(name) == 1 for name in names) else ():
            column = file.read_row_groups(list(groups), columns=[name]).column(0)
            cells = column.to_pylist()
            binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
            columns[name] = _texts(path, name, cells, encoding) if any(is_(column.type) for is_ in binary) else cells
        return RawTable(columns, _class_names(schema.metadata), available, reading=ReadOptions(complete=complete))


def _texts(path: Path, column: str, cells: list[bytes | None], encoding: str) -> list[str | None]:
    """Decodes a text column that was written as bytes."""
    found: list[str | None] = []
    for row, cell in enumerate(cells, 1):
        try:
            found.append(None if cell is None else cell.decode(encoding))
        except UnicodeError as error:
            rule = f"column {column}, row {row}, holds bytes that are no {encoding}"
            raise TaskError("data.path", str(path), rule, "write it as a text, or set data.encoding") from error
    return found


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Reads the ClassLabel names that `datasets` writes into a Parquet file's schema.

    Parsed from the JSON, because `Features.from_arrow_schema` imports datasets and rejects columns of another width.
    """
    info = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info") or {}
    features = (info.get("features") or {}).items()
    return {name: tuple(f["names"]) for name, f in features if f.get("_type") == "ClassLabel" and f.get("names")}
