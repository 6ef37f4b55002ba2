"""Data files such as users have, and the spec that `tunefleet init` writes for one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.tasks import find_task
from tuning import load_spec
from tuning.cli import main
from tuning.spec.models import ExperimentSpec

WORDS = ("the", "film", "was", "good", "bad", "terrible", "great", "acting", "plot", "story", "long", "short", "funny")


def sentence(row: int, words: int = 8) -> str:
    drawn = random.Random(row)
    return " ".join(drawn.choice(WORDS) for _ in range(words)) + f" {row}"


def rows_of(count: int = 60, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{name.replace("__", " "): cell(row) for name, cell in columns.items()} for row in range(count)]


def language(row: int) -> str:
    return ("en", "de")[row % 2]


def write(name: str, rows: Sequence[Mapping[str, Any]], separator: str = ",", encoding: str = "utf-8") -> Path:
    """Writes rows in the format of the suffix of `name`."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".json":  # as pandas writes it
        path.write_text(json.dumps({name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}))
    else:
        lines = [separator.join(rows[0]), *(separator.join(f'"{cell}"' for cell in row.values()) for row in rows)]
        path.write_bytes("\n".join([*lines, ""]).encode(encoding))
    return path


def started(data: Path | str, *more: str, target: str = "out.yaml") -> ExperimentSpec:
    """Returns the spec that is written; it is valid, and its data can be loaded."""
    assert main(["init", target, "--data", str(data), *more]) == 0
    spec = load_spec(target)
    loaded = find_task(spec.task).load(spec.data)
    assert all(len(split) > 0 for split in loaded[:3])
    return spec
