"""Trainables as a user writes them, in a module of their own that workers import by name."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

from trainables import report, restored_checkpoint
from trainables.learning_curve import LearningCurve
from trainables.slot import Evaluation
from trainables.spec import FineTuneSpec, Params


class FailsOnce(LearningCurve):
    """Fails after its second epoch, if nothing has before: the file named by `model.failed` tells."""

    def advance(self, epochs: float) -> Evaluation:
        marker = Path(str(self.params["model.failed"]))
        if self.epoch == 2 and not marker.exists():
            marker.touch()
            raise RuntimeError("out of luck")
        return super().advance(epochs)


class Dies(LearningCurve):
    """Its process is killed after the second epoch, each time."""

    def advance(self, epochs: float) -> Evaluation:
        if self.epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance(epochs)


def train(params: Params, *, spec: FineTuneSpec) -> None:
    """The same curve, and the progress at the start of each epoch, which tells whose checkpoint it began from."""
    curve = LearningCurve(params, spec)
    if (start := restored_checkpoint()) is not None:
        curve.restore(start)
    while curve.epoch < curve.horizon:
        begun = curve.progress
        epoch, metrics, _ = curve.advance(1)
        with tempfile.TemporaryDirectory() as folder:
            curve.save(Path(folder))
            report({**metrics, "begun": begun, "progress": curve.progress}, epoch=epoch, checkpoint=folder)
