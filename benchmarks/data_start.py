"""Measures what the size of a user's data set costs a search at its start: `python -m benchmarks.data_start`.

Two data sets, mapped from disk, that differ in their number of rows alone; three searches of each, of two short trials,
every one in a new process. The first one writes the data set below the storage, once per content; the others find it
there. Trials carry no rows: each slot maps the file. So what counts is whether the large one, once it is written,
starts as fast as the small one: from the call to the first report of a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

RESULT = Path(__file__).parent / "results" / "data_start.json"
TOKENS, WORDS = 512, 64  # of a row; 4 KB
MEGABYTE = 10**6
SEARCHES = 3


def main(argv: list[str] | None = None) -> int:
    """Makes the data, runs the searches, prints and writes their times."""
    given = sys.argv[1:] if argv is None else argv
    options = _parse(given)
    if options.search is not None:
        print(json.dumps(search(*options.search)))
        return 0
    sizes: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="tfb-", dir=options.scratch) as folder:
        for megabytes in options.megabytes:
            data, storage = Path(folder, f"{megabytes}.arrow"), Path(folder, f"runs-{megabytes}")
            make(data, megabytes * MEGABYTE)
            sizes[str(megabytes)] = [_searched(data, storage) for _ in range(SEARCHES)]
            data.unlink()
    command = shlex.join(["python", "-m", "benchmarks.data_start", *given])
    result = {"command": command, "machine": machine(), "megabytes": sizes}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 100).print(_table(sizes))
    return 0


def make(file: Path, size: int) -> None:
    """Makes a data set of random words of about `size` bytes, as one Arrow file."""
    import pyarrow as pa

    random, rows = np.random.default_rng(0), 1000
    schema = pa.schema({"input_ids": pa.list_(pa.int64()), "labels": pa.int64()})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for begin in range(0, max(1, size // (8 * TOKENS)), rows):
            count = min(rows, max(1, size // (8 * TOKENS)) - begin)
            words = pa.array(random.integers(4, WORDS, count * TOKENS))
            offsets = pa.array(np.arange(0, (count + 1) * TOKENS, TOKENS, dtype=np.int32))
            labels = pa.array(random.integers(0, 2, count))
            writer.write_batch(pa.record_batch([pa.ListArray.from_arrays(offsets, words), labels], schema=schema))


def search(data: str, storage: str) -> dict[str, float]:
    """Runs a search of two trials of two steps in its own process; returns the seconds it took, and bytes written."""
    from datasets import Dataset
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    import tunefleet

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}

    def model_init() -> Any:
        return BertForSequenceClassification(BertConfig(vocab_size=WORDS, max_position_embeddings=TOKENS, **sizes))

    rows = Dataset.from_file(data)
    arguments = TrainingArguments(str(Path(storage, "out")), max_steps=2, eval_strategy="epoch", report_to="none")
    trainer = Trainer(model_init=model_init, args=arguments, train_dataset=rows, eval_dataset=rows.select(range(16)))
    before = _written(storage)
    began, cpu = time.time(), time.process_time()
    space = {"learning_rate": {"loguniform": [1e-4, 1e-2]}}
    best = tunefleet.hyperparameter_search(trainer, space, n_trials=2, storage=storage, progress=False)
    first = min(report.time for trial in best.run_summary.trials for report in trial.reports)
    return {
        "first_report_s": round(first - began, 2),
        "search_s": round(time.time() - began, 2),
        "driver_cpu_s": round(time.process_time() - cpu, 2),
        "written_mb": round((_written(storage) - before) / MEGABYTE, 2),
    }


def _written(storage: str) -> int:
    return sum(file.stat().st_size for file in Path(storage, ".shipped").glob("*"))


def _searched(data: Path, storage: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.data_start", "--search", str(data), str(storage)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "WANDB_MODE": "disabled"}
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(sizes: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(title="A search of two short trials, from its call on")
    for column in ("data, MB", "search", "first report, s", "whole, s", "driver's CPU-s", "written, MB"):
        table.add_column(column, justify="right")
    for size, searches in sizes.items():
        for number, found in enumerate(searches, 1):
            shown = (found["first_report_s"], found["search_s"], found["driver_cpu_s"], found["written_mb"])
            table.add_row(size, str(number), *map(str, shown))
    return table


def _parse(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.data_start", description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[2, 2000], help="of the data sets")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp"), help="a folder with room for twice the largest")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--search", nargs=2, metavar=("DATA", "STORAGE"), help=argparse.SUPPRESS)
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
