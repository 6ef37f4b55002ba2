"""Trainables that note the devices that their process may use: workers import them by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ray

from trainables import report
from trainables.learning_curve import LearningCurve
from trainables.spec import FineTuneSpec, Params

BUILT: list[str] = []  # what has happened in this process: "capped", "built"


def note(params: Params) -> None:
    """Adds the visible devices, those that Ray has assigned, and the allocator's settings to the file `model.log`."""
    visible, allocator = (os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF"))
    with Path(str(params["model.log"])).open("a") as file:
        file.write(json.dumps([visible, sorted(map(str, ray.get_gpu_ids())), allocator]) + "\n")


def noted(log: Path) -> list[list[Any]]:
    """Returns all notes in the file, in order."""
    return [json.loads(line) for line in log.read_text().splitlines()]


class Noting(LearningCurve):
    """A learning curve that notes the devices when it is built."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        note(params)
        BUILT.append("built")


class NotingApart(Noting):
    """A `Noting` in a process per GPU."""

    divides_rows = True


def noting(params: Params, *, spec: FineTuneSpec) -> None:
    """Notes the devices as a function."""
    note(params)
    report({"accuracy": 0.5, "loss": 1.0}, epoch=spec.epochs)
