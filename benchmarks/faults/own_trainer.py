"""A user's own Trainer, on a tiny model, that records every epoch as `curve.Journalled` does."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback

from benchmarks.faults.curve import Step, raising
from tests.support.user_trainers import trainer


def make_trainer(params: dict[str, Any]) -> Trainer:
    """Makes the Trainer; workers import this factory by name."""
    values = dict(params)
    log, seconds = Path(values.pop("model.log")), float(values.pop("model.seconds_per_epoch"))
    return trainer(values, callbacks=[Journal(log, seconds, values["learning_rate"], values["weight_decay"])])


class Journal(TrainerCallback):  # type: ignore[misc]
    """Records begin and end of every epoch, which takes `seconds` more; raises once if `curve.raising` exists."""

    def __init__(self, log: Path, seconds: float, rate: float, decay: float) -> None:
        self.log, self.seconds, self.rate, self.decay = log, seconds, rate, decay

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer; the first time after a restore at its epoch."""
        self._note(state.epoch, ended=False)
        if raising(self.log).exists():
            raising(self.log).unlink(missing_ok=True)
            raise RuntimeError("asked to")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called before the evaluation."""
        time.sleep(self.seconds)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the evaluation."""
        self._note(state.epoch, ended=True)

    def _note(self, epoch: float, *, ended: bool) -> None:
        step = Step(ended, round(epoch, 9), self.rate, self.decay, time.time(), os.getpid())
        with self.log.open("a") as file:  # one write of a short line: it is whole or not
            file.write(json.dumps(step) + "\n")
