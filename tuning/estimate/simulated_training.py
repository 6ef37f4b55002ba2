"""A trial that takes the seconds of a real one, by the clock of a simulation, and has a random learning curve.

A trial's score is a quality, drawn from the values that it began with, times its progress, plus noise of its own for
each report. So the ranks of trials at one rung are mostly those at the next, and how many ASHA stops does not depend on
how good the trials are. After an exploit a member goes on with the donor's quality.
"""

from __future__ import annotations

import functools
import json
import math
import random
from pathlib import Path
from typing import Literal

from trainables.epochs import horizon_of, next_position
from trainables.machine import clock
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores
from tuning.estimate.costs import TrainingCosts

SETTINGS = "simulated"  # in `fixed`: the path of a file that `write_settings` has written
NOISE = 0.2  # standard deviation of a score, where that of qualities is 1
SLOWNESS = 1.0  # epochs in which a trial gets to 63 % of its quality


def write_settings(file: Path, costs: TrainingCosts, factor: float, luck: int) -> None:
    """Write what all trials of a simulation share.

    Args:
        file: to be named by `SETTINGS`.
        costs: what they take.
        factor: all of it takes so many times as long.
        luck: another number makes other scores.
    """
    file.write_text(json.dumps({"costs": costs.to_json(), "factor": factor, "luck": luck}))


class SimulatedTraining:
    """A `Training` whose methods sleep."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        self.params: dict[str, Value] = {name: value for name, value in params.items() if name != SETTINGS}
        self.provenance: dict[str, Value] = {}
        self.horizon = horizon_of(params, spec)
        self.epoch = 0.0
        assert spec.objective is not None  # the simulated spec states it
        self._objectives = spec.objectives or (spec.objective,)
        costs, factor, self._luck = _settings(str(spec.fixed[SETTINGS]))
        self._seconds, self._test_share = costs.of(self.params).scaled(factor), costs.test_share
        self._own = random.Random(f"{self._luck} {spec.seed} {sorted(self.params.items(), key=str)}")
        self._quality = self._own.gauss(0.0, 1.0)
        clock.sleep(self._seconds.build)

    def advance(self, epochs: float) -> Evaluation:
        """Takes the time of a training for `epochs`, at most to the horizon, and of an evaluation."""
        target = next_position(self.epoch, epochs, self.horizon)
        clock.sleep((target - self.epoch) * self._seconds.epoch)
        self.epoch = target
        return Evaluation(target, self.score("validation").metrics, dict(self.params))

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Takes the time of an evaluation; the scores are random."""
        clock.sleep(self._seconds.evaluation * (self._test_share if split == "test" else 1.0))
        progress = 1 - math.exp(-self.epoch / SLOWNESS)
        score = self._quality * progress + NOISE * self._own.gauss(0.0, 1.0)
        return Scores({one.metric: score if one.mode == "max" else -score for one in self._objectives}, rows=0)

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Takes the time to write a state."""
        clock.sleep(self._seconds.save)
        (folder / "simulated.json").write_text(json.dumps({"epoch": self.epoch, "quality": self._quality}))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Takes the time to read a state; the trial keeps its own values."""
        clock.sleep(self._seconds.save)
        state = json.loads((folder / "simulated.json").read_text())
        self.epoch, self._quality = state["epoch"], state["quality"]


@functools.lru_cache(maxsize=1)
def _settings(file: str) -> tuple[TrainingCosts, float, int]:
    plain = json.loads(Path(file).read_text())
    return TrainingCosts.from_json(plain["costs"]), float(plain["factor"]), int(plain["luck"])
