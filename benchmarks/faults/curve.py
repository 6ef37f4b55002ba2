"""The closed-form trial, which records every epoch that it computes; workers import it by name."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from trainables.learning_curve import LearningCurve
from trainables.worker.slot import Evaluation


class Step(NamedTuple):
    """One epoch that a slot has begun, or ended."""

    ended: bool
    epoch: float  # where the trial stood
    rate: float
    decay: float  # the two values together tell trials apart
    time: float  # seconds since 1970
    process: int = 0


class Journalled(LearningCurve):
    """Notes begin and end of every epoch in the file `model.log`, also of those that are made again. Raises once when a
    file lies beside that, see `raising`."""

    def advance(self, epochs: float) -> Evaluation:
        """Trains as the base class does, and records begin and end."""
        self._note(ended=False)
        with contextlib.suppress(FileNotFoundError):
            raising(self._log).unlink()
            raise RuntimeError("asked to")
        evaluation = super().advance(epochs)
        self._note(ended=True)
        return evaluation

    def _note(self, *, ended: bool) -> None:
        step = Step(ended, self.epoch, self.rate, self.decay, time.time(), os.getpid())
        with self._log.open("a") as file:  # one write of a short line: it is whole or not
            file.write(json.dumps(step) + "\n")

    @property
    def _log(self) -> Path:
        return Path(str(self.params["model.log"]))


def raising(log: Path) -> Path:
    """Returns the file that makes the next epoch of any trial raise, for this `model.log`."""
    return log.with_name("raise")


def steps(log: Path) -> list[Step]:
    """Returns all steps in order of time; a line that a kill has cut off is skipped."""
    if not log.exists():
        return []
    return [Step(*json.loads(line)) for line in log.read_text().splitlines() if line.endswith("]")]
