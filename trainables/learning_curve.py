"""A trial in closed form, without torch: for tests of strategies and benchmarks of schedulers.

The loss decays exponentially with the epochs trained, fastest at the best learning rate, and is NaN above a threshold.
It is deterministic and takes a microsecond per epoch. The state is the integral of progress: a clone starts where its
donor was, and its own rate counts from there.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

from trainables.epochs import horizon_of, next_position
from trainables.machine import clock
from trainables.progress import step_done
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores

BEST_LEARNING_RATE = 1e-3
DIVERGES_ABOVE = 0.5
STEPS = 10  # steps per call of `advance`, if epochs take time


class LearningCurve:
    """A `Training` with the metrics loss, in (0, 1], and accuracy = 1 - loss.

    It reads `learning_rate`, `weight_decay`, `num_train_epochs`, and `model.seconds_per_epoch`.
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        self.params = dict(params)
        self.provenance: dict[str, Value] = {}  # a formula rests on nothing else
        self.horizon = horizon_of(self.params, spec)
        self.rate = float(self.params.get("learning_rate", BEST_LEARNING_RATE))  # type: ignore[arg-type]
        self.decay = float(self.params.get("weight_decay", 0.0))  # type: ignore[arg-type]
        # An epoch that takes time makes concurrency and interruption visible; the key is unused otherwise.
        self.seconds_per_epoch = float(self.params.get("model.seconds_per_epoch", 0.0))  # type: ignore[arg-type]
        self.epoch = 0.0
        self.progress = 0.0

    def advance(self, epochs: float) -> Evaluation:
        """Trains for `epochs`, at most to the horizon."""
        target = next_position(self.epoch, epochs, self.horizon)
        epochs = target - self.epoch
        if self.seconds_per_epoch:
            for _ in range(STEPS):
                clock.sleep(self.seconds_per_epoch * epochs / STEPS)
                step_done()
        decades_off = math.log10(self.rate / BEST_LEARNING_RATE)
        speed = math.exp(-(decades_off**2)) * (1 - 0.5 * self.decay)
        self.progress += speed * epochs
        self.epoch = target
        return Evaluation(self.epoch, self.score("validation").metrics, dict(self.params))

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """The metrics, equal on both splits: a closed form has no sample."""
        loss = math.nan if self.rate > DIVERGES_ABOVE else math.exp(-0.5 * self.progress)
        return Scores({"accuracy": 1 - loss, "loss": loss}, rows=0)

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Writes position and progress as JSON; there is no optimizer state."""
        (folder / "curve.json").write_text(json.dumps({"epoch": self.epoch, "progress": self.progress}))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Restores position and progress; the trial keeps its own learning rate."""
        state = json.loads((folder / "curve.json").read_text())
        self.epoch, self.progress = state["epoch"], state["progress"]
