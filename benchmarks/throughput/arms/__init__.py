"""One file per way to run the list; each is a program: `python -m benchmarks.throughput.arms.NAME FOLDER [VARIANT]`.

FOLDER holds `workload.json`; the arm writes one line per trial into FOLDER/trials.jsonl (`TrialRecord`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import NonNegativeInt

from benchmarks.workload import Workload
from trainables.spec import Frozen

WORKLOAD, TRIALS = "workload.json", "trials.jsonl"


class TrialRecord(Frozen):
    """The result of one trial, in any arm."""

    learning_rate: float
    accuracy: float  # on the validation rows, after the last epoch
    loss: float | None = None  # mean cross entropy there, in nats
    tokens: NonNegativeInt | None = None  # trained on, padding included
    steps: NonNegativeInt | None = None  # of the optimizer
    cpu_seconds: float | None = None  # of the process, while this trial ran in it
    wall_seconds: float | None = None
    worker: int | None = None  # the process


def workload_in(folder: Path) -> Workload:
    """Reads the workload of an arm."""
    return Workload.model_validate_json((folder / WORKLOAD).read_text())


def add(folder: Path, record: TrialRecord) -> None:
    """Appends one trial; safe from several processes, since one short line is one write."""
    line = record.model_dump_json() + "\n"
    descriptor = os.open(folder / TRIALS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(folder: Path) -> list[TrialRecord]:
    """Reads the trials of a finished arm, in the order of their learning rates."""
    path = folder / TRIALS
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((TrialRecord(**json.loads(line)) for line in lines), key=lambda record: record.learning_rate)
