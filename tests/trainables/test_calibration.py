"""A few steps and a part of an evaluation show what a trial takes, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import USER_TRAINER
from trainables import calibration
from trainables.calibration import calibrate
from trainables.lookup import build_training
from trainables.machine import clock
from trainables.spec import FineTuneSpec, Objective, Params
from trainables.training import Training

pytestmark = pytest.mark.unit

BATCH = "per_device_train_batch_size"


class SteppedClock:
    """A clock that goes on by the seconds that a training takes, and stands still meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_seconds_of_an_epoch_are_found_from_pieces_of_it() -> None:
    spec = FineTuneSpec(trainable="learning_curve", epochs=4, objective=Objective(metric="loss", mode="min"))
    with clock.use(SteppedClock()):
        found = calibrate([{"model.seconds_per_epoch": 40.0}], spec, 14.0, build_training)
    (pace,) = found.paces
    assert found.began == 1e9
    assert pace.epoch == pytest.approx(40.0)
    assert (pace.evaluation, pace.build, pace.spread) == (0.0, 0.0, 0.0)
    assert pace.train_rows is None


def test_a_fine_tuning_is_measured_with_its_rows_steps_and_memory(tiny_spec: FineTuneSpec, tmp_path: Path) -> None:
    made: list[Training] = []

    def make(params: Params, spec: FineTuneSpec) -> Training:
        made.append(build_training(params, spec))
        return made[-1]

    own_cut = tiny_spec.data.model_copy(update={"seed": 4711})  # of which no other test has read the test rows
    spec = tiny_spec.model_copy(update={"data": own_cut})
    light, heavy = calibrate([{BATCH: 8}, {BATCH: 32}], spec, 0.5, make).paces
    assert (light.params, heavy.params) == ({BATCH: 8}, {BATCH: 32})
    assert (light.train_rows, light.validation_rows, light.test_rows) == (96, 48, 48)
    assert light.precision == "fp32"
    assert 0 < light.epoch < 30
    assert 0 < light.evaluation < 10
    assert light.memory > light.shared > 0
    assert light.device_memory == 0
    # It has trained at least a first step and two parts after it, and never beyond its horizon.
    trained = [training.examples for training in made]  # type: ignore[attr-defined]
    assert all(3 * batch <= rows <= 4 * 96 for batch, rows in zip((8, 32), trained, strict=True))
    assert all(training.data.facts.test_rows and "_test" not in vars(training.data) for training in made)  # type: ignore[attr-defined]


def test_an_evaluation_of_many_rows_is_measured_by_some_of_its_batches(
    tiny_spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "EVALUATED_BATCHES", 3)
    scored = []
    training = build_training({}, tiny_spec.model_copy(update={"eval_batch_size": 4}))
    predict = training.trainer.predict  # type: ignore[attr-defined]
    training.trainer.predict = lambda rows: scored.append(list(rows["length"])) or predict(rows)  # type: ignore[attr-defined]
    calibrate([{}], tiny_spec, 0.1, lambda params, spec: training)
    held = training.data.validation["length"]  # type: ignore[attr-defined]
    assert [len(lengths) for lengths in scored] == [4, 4, 4]
    assert (scored[0][-1], scored[-1][0]) == (max(held), min(held))  # the longest first


def test_a_trainer_of_ones_own_is_measured_through_advance_and_score() -> None:
    spec = FineTuneSpec(trainable=USER_TRAINER, epochs=2, objective=Objective(metric="loss", mode="min"))
    (pace,) = calibrate([{"learning_rate": 5e-3, BATCH: 8}], spec, 0.5, build_training).paces
    assert pace.train_rows
    assert pace.test_rows is None
    assert 0 < pace.epoch < 60
    assert pace.evaluation > 0
