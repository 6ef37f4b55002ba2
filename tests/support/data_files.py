"""Data files that a test writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.spec import DataSpec
from trainables.tasks import Task, TaskData

WORDS = ["fine", "dull", "bright", "slow", "warm", "cold", "sharp", "flat", "rich", "thin"]


def texts(count: int, start: int = 0) -> list[str]:
    """Distinct short texts."""
    return [f"{WORDS[i % 10]} film number {i} {WORDS[i // 10 % 10]}" for i in range(start, start + count)]


def write_csv(path: Path, columns: dict[str, list[Any]]) -> Path:
    """A CSV of simple cells: texts quoted, None as an empty field."""
    cells = [
        [json.dumps(v) if isinstance(v, str) else "" if v is None else str(v) for v in c] for c in columns.values()
    ]
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in zip(*cells, strict=True))]) + "\n")
    return path


def write_parquet(path: Path, columns: dict[str, list[Any]], class_names: list[str] | None = None) -> Path:
    """Parquet with the metadata that `datasets` writes."""
    table = pa.table(columns)
    if class_names is not None:
        features = {"label": {"names": class_names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


def local_copy(task: Task, folder: Path, rows: int = 60) -> DataSpec:
    """Files in the schema of `task`: train and validation with labels, test with hidden ones."""
    folder.mkdir(exist_ok=True)
    columns = task.data.text or ("text",)
    label = task.data.label or "label"
    classes = len(getattr(task, "class_names", ())) or 2
    for split, start, count in (("train", 0, rows), ("validation", 1000, 20), ("test", 2000, 20)):
        data: dict[str, list[Any]] = {name: [f"{name}: {t}" for t in texts(count, start)] for name in columns}
        hidden = [-1] * count if task.kind == "classification" else [-1.0] * count
        shown = [i % classes if task.kind == "classification" else i % 6 / 2 for i in range(count)]
        write_parquet(folder / f"{split}.parquet", data | {label: hidden if split == "test" else shown})
    return DataSpec(path=str(folder), text=columns, label=label)


def rows_of(data: TaskData) -> list[set[tuple[str, ...]]]:
    """The texts of each split."""
    names = [name for name in ("text", "text_pair") if name in data.train.column_names]
    return [set(zip(*(split[name] for name in names), strict=True)) for split in data[:3]]
