"""A trial in closed form whose best configurations are known: the front of accuracy and latency is planted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from trainables.epochs import horizon_of, next_position
from trainables.machine import clock
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Evaluation, Scores
from tuning.pareto import hypervolume

MINUTE = 60.0  # seconds that an epoch takes
BEST_RATE, BEST_DECAY = 0.3, 0.6
SPACE = {name: {"uniform": [0, 1]} for name in ("width", "rate", "decay")}
OBJECTIVES = [{"metric": "accuracy", "mode": "max"}, {"metric": "latency_ms", "mode": "min"}]
NAME = "tests.support.planted_front:PlantedFront"


class PlantedFront:
    """A wider model is better and slower; of each width the best has `BEST_RATE` and `BEST_DECAY`.

    Its accuracy is sqrt(width) x quality x progress, its latency 10 ms x width. So on the planted front the accuracy is
    sqrt(latency / 10).
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        self.params: dict[str, Any] = dict(params)
        self.provenance: dict[str, Value] = {}
        self.horizon = horizon_of(params, spec)
        self.epoch = 0.0

    def advance(self, epochs: float) -> Evaluation:
        target = next_position(self.epoch, epochs, self.horizon)
        clock.sleep((target - self.epoch) * MINUTE)
        self.epoch = target
        return Evaluation(target, self.score("validation").metrics, dict(self.params))

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Returns both metrics; on test each accuracy is a tenth lower."""
        lost = abs(self.params["rate"] - BEST_RATE) + abs(self.params["decay"] - BEST_DECAY)
        quality = max(0.0, 1 - lost) * (1 - math.exp(-self.epoch)) * (1.0 if split == "validation" else 0.9)
        width = self.params["width"]
        return Scores({"accuracy": math.sqrt(width) * quality, "latency_ms": 10 * width}, rows=0)

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        (folder / "planted.json").write_text(json.dumps({"epoch": self.epoch}))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        self.epoch = json.loads((folder / "planted.json").read_text())["epoch"]


def fields(folder: Path, **changed: Any) -> dict[str, Any]:
    """Returns the fields of an experiment over the planted front."""
    cluster = {"storage": str(folder), "max_concurrent": 2, **changed.pop("cluster", {})}
    return {
        "name": "planted",
        "trainable": NAME,
        "epochs": 8,
        "space": SPACE,
        "objectives": OBJECTIVES,
        "cluster": cluster,
        **changed,
    }


def dominated_share(points: list[tuple[float, float]]) -> float:
    """Returns the volume of (accuracy, latency in ms) as a share of that of the whole planted front."""
    volume = hypervolume([(-accuracy, latency) for accuracy, latency in points], (0.0, 10.0))
    return volume / (10 * 2 / 3)  # the integral of sqrt(w) over 0..1, in ms
