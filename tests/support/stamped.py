"""Trainables that write down in which process and when they worked, for tests of slots: workers import it by name."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from trainables.learning_curve import LearningCurve
from trainables.slot import Evaluation

FAILS_AT = 0.25  # the learning rate of the trial that fails


def stamp(log: str, **facts: Any) -> None:
    """One line; several processes append to the same file."""
    with Path(log).open("a") as file:
        file.write(json.dumps({"process": os.getpid(), **facts}) + "\n")


def stamps(log: Path) -> list[dict[str, Any]]:
    """All lines, in the order in which they were written."""
    return [json.loads(line) for line in log.read_text().splitlines()]


class Stamped(LearningCurve):
    """Notes the process, the learning rate, begin and end of every epoch in the file `model.log`."""

    def advance(self, epochs: float) -> Evaluation:
        begun = time.time()
        evaluation = super().advance(epochs)
        stamp(str(self.params["model.log"]), rate=self.rate, begun=begun, ended=time.time())
        return evaluation


class Failing(Stamped):
    """As `model.failure` says, in the second epoch of the trial whose learning rate is FAILS_AT."""

    def advance(self, epochs: float) -> Evaluation:
        evaluation = super().advance(epochs)
        if self.rate == FAILS_AT and self.epoch == 2:
            raise self._failure()
        return evaluation

    def _failure(self) -> Exception:
        import torch

        failures = {
            "error": RuntimeError("out of luck"),
            "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            "fault": torch.AcceleratorError("CUDA error: device-side assert triggered"),
        }
        return failures[str(self.params["model.failure"])]
