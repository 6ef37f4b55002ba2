"""Data files that a test writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.spec import DataSpec
from trainables.tasks import TaskData, TaskError, find_task
from tuning.testing.task_data import local_copy, rows_of, texts

__all__ = [
    "five_classes",
    "generic",
    "labels_by_text",
    "local_copy",
    "read_as",
    "rows_of",
    "texts",
    "two_columns",
    "unusable",
    "write_csv",
    "write_parquet",
]


def generic(path: Path) -> DataSpec:
    """Returns the options of a file or folder with the columns `text` and `label`."""
    return DataSpec(path=str(path), text=("text",), label="label")


def labels_by_text(loaded: TaskData) -> dict[str, str]:
    """Returns the class name of every text of all splits."""
    rows = ((text, label) for split in loaded[:3] for text, label in zip(split["text"], split["label"], strict=True))
    return {text: loaded.label_names[label] for text, label in rows}


def read_as(options: DataSpec) -> dict[str, str]:
    """Returns the class name of every text that `text_classification` makes of the data."""
    return labels_by_text(find_task("text_classification").load(options))


def write_csv(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Writes a CSV file of simple cells: texts quoted, None as an empty field."""
    cells = [
        [json.dumps(v) if isinstance(v, str) else "" if v is None else str(v) for v in c] for c in columns.values()
    ]
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in zip(*cells, strict=True))]) + "\n")
    return path


def write_parquet(path: Path, columns: dict[str, list[Any]], class_names: list[str] | None = None) -> Path:
    """Writes a Parquet file with the metadata that `datasets` writes."""
    table = pa.table(columns)
    if class_names is not None:
        features = {"label": {"names": class_names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def five_classes(folder: Path, rows: int = 100) -> DataSpec:
    """Writes one CSV file with five classes of unequal size, and nothing else."""
    labels = [("sport", "sport", "sport", "politics", "art", "science", "food")[i % 7] for i in range(rows)]
    path = write_csv(folder / "news.csv", {"headline": texts(rows), "topic": labels})
    return DataSpec(path=str(path), text=("headline",), label="topic")


def two_columns(folder: Path, **columns: list[Any]) -> DataSpec:
    """Writes one CSV file of 40 rows and two classes; `columns` stand in place of its columns, or besides."""
    write_csv(folder / "train.csv", {"text": texts(40), "label": [i % 2 for i in range(40)]} | columns)
    return DataSpec(path=str(folder), text=("text",), label="label")


def unusable(name: str, rule: str, task: str, options: DataSpec) -> None:
    """Checks that `load` refuses the data with this option's name and these words."""
    with pytest.raises(TaskError, match=f"^{re.escape(name)}: .*{rule}") as caught:
        find_task(task).load(options)
    assert caught.value.next_step
