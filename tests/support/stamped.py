"""Trainables that write down in which process, when and on what they worked: workers import them by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trainables.learning_curve import LearningCurve
from trainables.machine import clock
from trainables.worker.slot import Evaluation

# The learning rates of trials that fail in their second epoch, and how.
FAILS = {0.2: "error", 0.25: "memory", 0.3: "fault"}


def stamp(log: str, **facts: Any) -> None:
    """Writes one line; several processes append to the same file."""
    with Path(log).open("a") as file:
        file.write(json.dumps({"process": os.getpid(), **facts}) + "\n")


def stamps(log: Path) -> list[dict[str, Any]]:
    """Returns all lines, in the order in which they were written."""
    return [json.loads(line) for line in log.read_text().splitlines()]


class Stamped(LearningCurve):
    """Notes the process, the learning rate, begin and end of every epoch in the file `model.log`."""

    def advance(self, epochs: float) -> Evaluation:
        begun = clock.time()
        evaluation = super().advance(epochs)
        stamp(str(self.params["model.log"]), rate=self.rate, epoch=self.epoch, begun=begun, ended=clock.time())
        return evaluation


class Failing(Stamped):
    """Fails in its second epoch, each time, if its rate is `FAILS`."""

    def advance(self, epochs: float) -> Evaluation:
        evaluation = super().advance(epochs)
        if self.rate in FAILS and self.epoch == 2:
            raise failure(FAILS[self.rate])
        return evaluation


def failure(kind: str) -> Exception:
    """Returns an error as trials raise it: of their own code, of a device without memory, of a device that is lost."""
    import torch

    failures = {
        "error": RuntimeError("out of luck"),
        "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        "fault": torch.AcceleratorError("CUDA error: device-side assert triggered"),
    }
    return failures[kind]


def at_once(noted: list[dict[str, Any]]) -> int:
    """Returns the largest number of epochs that were being computed at one moment."""
    edges = sorted([(n["begun"], 1) for n in noted] + [(n["ended"], -1) for n in noted])
    running = [0]
    for _, step in edges:
        running.append(running[-1] + step)
    return max(running)
