"""The closed-form trial, which writes down every epoch that is computed: workers import it by name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

from trainables.learning_curve import LearningCurve
from trainables.slot import Evaluation


class Step(NamedTuple):
    """One epoch that a slot has begun, or ended."""

    ended: bool
    epoch: float  # where the trial stood
    rate: float
    decay: float  # the two values together tell trials apart
    time: float


class Journalled(LearningCurve):
    """Notes begin and end of every epoch in the file `model.log`, also of those that are made again."""

    def advance(self, epochs: float) -> Evaluation:
        """As its base class."""
        self._note(ended=False)
        evaluation = super().advance(epochs)
        self._note(ended=True)
        return evaluation

    def _note(self, *, ended: bool) -> None:
        with Path(str(self.params["model.log"])).open("a") as file:  # one write of a short line: it is whole or not
            file.write(json.dumps(Step(ended, self.epoch, self.rate, self.decay, time.time())) + "\n")


def steps(log: Path) -> list[Step]:
    """All, in order of time; a line that a kill has cut off is none."""
    if not log.exists():
        return []
    return [Step(*json.loads(line)) for line in log.read_text().splitlines() if line.endswith("]")]
