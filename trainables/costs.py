"""Measures what a trial and its model cost, as metrics beside its scores: only for a spec that asks for them.

    latency_ms             milliseconds for one row at inference, in a batch of its own: the median over rows
    parameters             numbers in the model, shared ones once
    model_bytes            bytes of the model's weights as they are saved
    train_device_seconds   seconds of training and evaluation so far, times the devices of the trial

A latency of batch size 1 is what MLPerf calls single stream (Reddi et al., "MLPerf inference benchmark", ISCA 2020).
Rows are tokenised beforehand. The first three costs belong to the architecture, so they are measured once for a trial
and for all that go on from its states; the last one includes what donors trained.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, cast

from trainables.errors import InputError
from trainables.machine import clock
from trainables.metrics import TRAIN_SECONDS
from trainables.spec import Value
from trainables.training import Evaluation, MeasurableTraining, Scores, Training

T = TypeVar("T")

FILE = "costs.json"  # in the folder of a state
ROWS = 16  # rows that are timed
WARM_UP = 2  # rows before them: the first ones choose kernels and fill caches
PASSES = 5  # over all rows, at most; the fastest time of a row counts
SHARE = 0.02  # of the time of the first `advance`: no pass begins after it


class MeasuredTraining:
    """A `Training` whose metrics include costs.

    Args:
        training: what trains; it has `model_costs`, or reports these metrics by itself.
        names: of the costs; one that `training` reports itself is left as it is.
        devices: that the trial holds.
    """

    def __init__(self, training: Training, names: Collection[str], devices: float) -> None:
        self.training, self._names, self._devices = training, names, devices
        self._seconds = 0.0  # of training and evaluation, along the lineage
        self._model_costs: dict[str, float] | None = None  # None: not measured yet
        self.horizon: float = training.horizon
        self.provenance: Mapping[str, Value] = training.provenance

    def advance(self, epochs: float) -> Evaluation:
        """Trains and evaluates as `training` does, and adds the costs.

        Raises:
            InputError: a cost is wanted that this trainable cannot measure.
        """
        begun = clock.monotonic()
        evaluation = self.training.advance(epochs)
        passed = clock.monotonic() - begun
        self._seconds += passed
        self.horizon, self.provenance = self.training.horizon, self.training.provenance  # it may have stopped early
        return evaluation._replace(metrics=self._with_costs(evaluation.metrics, passed))

    def score(self, split: Literal["validation", "test"]) -> Scores:
        """Scores as `training` does, and adds the costs.

        Raises:
            InputError: as `advance`.
        """
        begun = clock.monotonic()
        scores = self.training.score(split)
        return scores._replace(metrics=self._with_costs(scores.metrics, clock.monotonic() - begun))

    def save(self, folder: Path, *, weights_only: bool = False) -> None:
        """Writes the state, and the costs so far."""
        self.training.save(folder, weights_only=weights_only)
        (folder / FILE).write_text(json.dumps({"seconds": self._seconds, "model": self._model_costs}))

    def restore(self, folder: Path, *, weights_only: bool = False) -> None:
        """Restores the state, and the costs of the trial that saved it."""
        self.training.restore(folder, weights_only=weights_only)
        kept = json.loads((folder / FILE).read_text())
        self._seconds, self._model_costs = kept["seconds"], kept["model"]

    def _with_costs(self, metrics: Mapping[str, float], passed: float) -> dict[str, float]:
        """Adds the costs to `metrics`; to none if nothing was scored."""
        own = dict(metrics)
        wanted = [name for name in self._names if name not in own]
        if not own or not wanted:
            return own
        of_model = [name for name in wanted if name != TRAIN_SECONDS]
        if of_model and self._model_costs is None:
            self._model_costs = self._measure(of_model, passed)
        every = {**(self._model_costs or {}), TRAIN_SECONDS: self._seconds * self._devices}
        return {**own, **{name: every[name] for name in wanted}}

    def _measure(self, names: Sequence[str], passed: float) -> dict[str, float]:
        if not hasattr(self.training, "model_costs"):
            rule = f"{type(self.training).__name__} has no method model_costs, and does not report it"
            raise InputError("measure", ", ".join(names), rule, "have it report these metrics, or leave them out")
        return cast(MeasurableTraining, self.training).model_costs(names, passed * SHARE)


def median_milliseconds(run: Callable[[T], object], rows: Sequence[T], seconds: float) -> float:
    """The median over `rows` of the milliseconds that `run` takes for one of them.

    Of each row the fastest of several passes counts: what else the machine does makes it slower, never faster.

    Args:
        run: computes one row, and returns when that is done.
        rows: of usual lengths, at least one.
        seconds: after which no further pass begins; the first one is made in any case.
    """
    for row in rows[:WARM_UP]:
        run(row)
    begun = clock.monotonic()
    fastest = [float("inf")] * len(rows)
    for _ in range(PASSES):
        for number, row in enumerate(rows):
            start = clock.monotonic()
            run(row)
            fastest[number] = min(fastest[number], clock.monotonic() - start)
        if clock.monotonic() - begun >= seconds:
            break
    return statistics.median(fastest) * 1000


def spread_rows(count: int) -> list[int]:
    """`ROWS` row numbers of `count` that lie evenly; all of them if there are no more."""
    wanted = min(ROWS, count)
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]
