"""tunefleet's trial with a time stamp before and after each verb; it runs in a slot and computes the same numbers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from benchmarks.throughput.breakdown import FOLDER_VARIABLE, STAMPS
from trainables.finetune.finetune import FineTuning
from trainables.spec import FineTuneSpec, Params
from trainables.worker.slot import Evaluation, Scores


class TimedFineTuning(FineTuning):
    """A trial that writes a line per verb: name, process, start and end on the machine's monotonic clock, CPU seconds.

    `tokens`, padding included, is added up over the training passes of the model.
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        self.tokens = 0
        with self._stamp("build", learning_rate=params["learning_rate"]):
            super().__init__(params, spec)
        self.model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: Any, positional: Any, named: dict[str, Any]) -> None:
        if model.training:
            self.tokens += named["input_ids"].numel()

    def advance(self, epochs: float) -> Evaluation:
        """Trains; without the time of `score`, this is the training alone."""
        with self._stamp("advance"):
            return super().advance(epochs)

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Evaluates on the split, and notes when that began and ended."""
        with self._stamp("evaluate", tokens=self.tokens):
            return super().score(split)

    def save(self, *positional: Any, **named: Any) -> Any:
        """Writes a checkpoint, and notes when that began and ended."""
        with self._stamp("checkpoint"):
            return super().save(*positional, **named)

    def restore(self, *positional: Any, **named: Any) -> Any:
        """Restores a checkpoint, a donor's or its own, and notes when that began and ended."""
        with self._stamp("restore"):
            return super().restore(*positional, **named)

    @contextmanager
    def _stamp(self, verb: str, **more: Any) -> Iterator[None]:
        start, cpu = time.monotonic(), time.process_time()
        yield
        entry = {"verb": verb, "worker": os.getpid(), "start": start, "end": time.monotonic(), "cpu_start": cpu}
        entry |= {"cpu_end": time.process_time(), **more}
        with (Path(os.environ[FOLDER_VARIABLE]) / STAMPS).open("a") as stamps:
            stamps.write(json.dumps(entry) + "\n")
