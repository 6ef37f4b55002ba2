"""Bounds the number of an experiment's training rows without reading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainables.tasks import TaskError, find_tasks
from trainables.tasks.files import split_files
from trainables.tasks.sources import reads_local_files

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

BY_LINES = (".csv", ".tsv", ".jsonl")
READ_AT_A_TIME = 1 << 20
LARGEST = 200 << 20  # bytes; counting the lines of a larger file takes longer than a look at a spec should


def most_rows(spec: ExperimentSpec) -> int | None:
    """The largest possible number of training rows; None if it is unknown, as for a Hub data set.

    It is `data.subset.train`, or the number of lines of the local training files.

    A validation or test split that is cut from them, and duplicates, make it fewer.
    """
    if spec.data.subset.train is not None:
        return spec.data.subset.train
    task = find_tasks().get(spec.task or "")
    options = task.options(spec.data) if task is not None else spec.data
    if not reads_local_files(options):
        return None
    try:
        counts = [_rows(path) for path in split_files(options)["train"]]
    except (TaskError, OSError):
        return None  # the check of the data reports it
    return None if None in counts else sum(count for count in counts if count is not None)


def _rows(path: Path) -> int | None:
    kind = path.suffix.lower()
    if kind == ".parquet":
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        try:
            return int(read_metadata(path).num_rows)
        except ArrowException:
            return None
    if kind not in BY_LINES or path.stat().st_size > LARGEST:
        return None
    lines = 1  # the last one may have no end; the first may be a header
    with path.open("rb") as file:
        while chunk := file.read(READ_AT_A_TIME):
            lines += max(chunk.count(b"\n"), chunk.count(b"\r"))
    return lines
