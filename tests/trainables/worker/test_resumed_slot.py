"""A slot whose driver was killed: what it computed is reported again as it was, and nothing damaged is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.slots import DrivenSlot
from trainables.checkpoints.manifest import CheckpointManifest
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.learning_curve import LearningCurve
from trainables.spec import FineTuneSpec, Objective, Params
from trainables.worker.slot import Evaluation

CURVE = FineTuneSpec(
    trainable="learning_curve", task="reviews", epochs=3, objective=Objective(metric="accuracy", mode="max")
)


def curve_slot(params: dict[str, Any], spec: FineTuneSpec = CURVE, **given: Any) -> DrivenSlot:
    """Makes a slot with the learning curve, three epochs long."""
    return DrivenSlot(params, spec=spec, **given)


class Killed:
    """A slot whose driver was killed after the trial's checkpoints of `epochs`, and the one of a resumed driver."""

    def __init__(self, folder: Path, epochs: int, params: dict[str, Any]) -> None:
        self.folder, self.params = folder, params
        first = self.slot(CheckpointPolicy())
        self.told = []
        for number in range(epochs):
            self.told.append(first.step())
            place = folder / "study" / "a" / f"checkpoint_{number:06d}"
            place.mkdir(parents=True)
            first.save_checkpoint(str(place))

    def slot(self, policy: CheckpointPolicy, **changed: Any) -> DrivenSlot:
        return curve_slot({**self.params, **changed}, training=Counted, policy=policy, trial="a")

    def resumed(self, **changed: Any) -> DrivenSlot:
        return self.slot(CheckpointPolicy(resumed_from=str(self.folder / "study")), **changed)


class Counted(LearningCurve):
    """Knows what it computed itself."""

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        super().__init__(params, spec)
        self.computed: list[float] = []

    def advance(self, epochs: float) -> Evaluation:
        self.computed.append(self.epoch)
        return super().advance(epochs)


@pytest.mark.unit
def test_what_a_killed_driver_has_left_is_reported_again_as_it_was_and_not_computed(tmp_path: Path) -> None:
    killed = Killed(tmp_path, 2, {"learning_rate": 1e-4})
    slot = killed.resumed()
    assert [slot.step(), slot.step()] == killed.told
    again = tmp_path / "again"
    again.mkdir()
    slot.save_checkpoint(str(again))
    left = CheckpointManifest.read(tmp_path / "study" / "a" / "checkpoint_000001")
    assert CheckpointManifest.read(again) == left  # under its token, by which its state is found
    third = slot.step()
    assert third["epoch"] == 3
    assert slot.training.computed == [2.0]
    assert curve_slot({"learning_rate": 1e-4}).to_the_end()[-1]["metrics"] == third["metrics"]


@pytest.mark.unit
def test_of_what_was_left_nothing_damaged_is_reported(tmp_path: Path) -> None:
    """A damaged second checkpoint: the first is re-reported, the second recomputed with the same result."""
    killed = Killed(tmp_path, 2, {"learning_rate": 1e-4})
    for path in (tmp_path / "study" / "a" / "checkpoint_000001").glob("recipe*.json"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    slot = killed.resumed()
    assert slot.step() == killed.told[0]
    told = slot.step()
    assert (told["metrics"], slot.training.computed) == (killed.told[1]["metrics"], [1.0])
    assert ["damaged" in line for line in told["warnings"]] == [True]


@pytest.mark.unit
@pytest.mark.parametrize("gone", [False, True])
def test_what_was_left_is_reported_without_its_state_and_recomputed_when_the_trial_goes_on(
    tmp_path: Path, gone: bool
) -> None:
    killed = Killed(tmp_path, 2, {"learning_rate": 1e-4})
    for state in (tmp_path / "study" / "a" / "checkpoint_000001").glob("state-*"):
        if gone:
            shutil.rmtree(state)
        else:
            for file in state.iterdir():
                file.write_bytes(file.read_bytes()[:-1] + b"?")
    slot = killed.resumed()
    assert [slot.step(), slot.step()] == killed.told  # a trial that ends here computes nothing
    third = slot.step()
    assert third["epoch"] == 3
    assert curve_slot({"learning_rate": 1e-4}).to_the_end()[2]["metrics"] == third["metrics"]
    assert any("damaged" in line for line in third.get("warnings", [])) is not gone


@pytest.mark.unit
def test_what_was_left_is_reported_from_the_checkpoint_on_that_tune_knows(tmp_path: Path) -> None:
    killed = Killed(tmp_path, 2, {"learning_rate": 1e-4})
    slot = killed.resumed()
    slot.load_checkpoint(str(tmp_path / "study" / "a" / "checkpoint_000000"))
    assert slot.step() == killed.told[1]
    assert slot.step()["epoch"] == 3
    assert slot.training.computed == [2.0]


@pytest.mark.unit
def test_what_was_left_with_other_values_or_by_a_run_before_is_not_used(tmp_path: Path) -> None:
    killed = Killed(tmp_path, 2, {"learning_rate": 1e-4})
    for slot in (killed.resumed(learning_rate=2e-4), killed.slot(CheckpointPolicy())):
        assert slot.step()["reported_at"] > killed.told[-1]["reported_at"]
        assert slot.training.computed == [0.0]
