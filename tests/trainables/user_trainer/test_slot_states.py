"""A user's Trainer in a slot, as Tune drives it: checkpoints, exploits, and states that are lost and recomputed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, Trainer

from tests.support.slots import DrivenSlot, saved
from tests.support.user_trainers import trainer
from trainables.checkpoints.manifest import Segment
from trainables.checkpoints.replay import replay
from trainables.lookup import build_training
from trainables.spec import FineTuneSpec, Objective, Params
from trainables.user_trainer.user_training import UserTraining

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(
    trainable="tests.support.user_trainers:make_trainer",
    epochs=3,
    seed=3,
    objective=Objective(metric="accuracy", mode="max"),
)
DONOR = {"learning_rate": 5e-3, "per_device_train_batch_size": 16}
MEMBER = {"learning_rate": 1e-3, "per_device_train_batch_size": 8.0}  # as a searcher may write it


def driven() -> DrivenSlot:
    """A slot of the donor."""
    return DrivenSlot(dict(DONOR), spec=SPEC, training=build_training)


def weights(slot: DrivenSlot) -> torch.Tensor:
    """The live training of the slot's trial."""
    return torch.cat([p.detach().flatten() for p in slot.training.trainer.model.parameters()])


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost, and made again"])
def test_an_exploit_goes_on_from_the_donors_state(lost: bool, tmp_path: Path) -> None:
    def exploit(place: Path) -> tuple[list[dict[str, Any]], torch.Tensor]:
        slot = driven()
        slot.step()
        folder = saved(slot, place, "donor", 0)
        if lost:
            (state,) = folder.glob("state-*")
            shutil.rmtree(state)
        slot.reset_config(dict(MEMBER))
        slot.load_checkpoint(str(folder))
        return slot.to_the_end(), weights(slot)

    (reports, trained), (again, same) = exploit(tmp_path / "one"), exploit(tmp_path / "two")
    assert [report["epoch"] for report in reports] == [2, 3]
    assert reports[0]["params"] == MEMBER
    assert reports[-1]["finished"]
    for report in (*reports, *again):  # which state was found anew lies in another folder
        report.pop("warnings", None)
    assert reports == again
    assert torch.equal(trained, same)


def test_a_state_that_is_made_again_is_the_one_that_was_lost(tmp_path: Path) -> None:
    undisturbed = driven()
    undisturbed.step()
    folder = saved(undisturbed, tmp_path, "trial", 0)
    rest = undisturbed.to_the_end()
    (state,) = folder.glob("state-*")
    shutil.rmtree(state)
    resumed = driven()
    resumed.load_checkpoint(str(folder))
    reports = resumed.to_the_end()
    reports[0].pop("warnings", None)
    assert reports == rest
    assert torch.equal(weights(resumed), weights(undisturbed))


def stopping(params: Params, spec: FineTuneSpec) -> UserTraining:
    """Its patience ends at the second evaluation."""

    def make(own: dict[str, Any]) -> Trainer:
        watched = {"metric_for_best_model": "same"}
        same = {"same": 0.5, "accuracy": 0.5}
        return trainer(own, args=watched, callbacks=[EarlyStoppingCallback(1)], compute_metrics=lambda scored: same)

    return UserTraining(make, params, spec)


def test_a_trial_whose_callback_ends_it_is_complete() -> None:
    slot = DrivenSlot(dict(DONOR), spec=SPEC, training=stopping)
    assert [(report["epoch"], report["finished"]) for report in slot.to_the_end()] == [(1, False), (2, True)]


def test_a_replay_ends_where_the_trainer_ends_it(tmp_path: Path) -> None:
    training, last = replay([Segment(DONOR, 3.0)], stopping, SPEC, tmp_path)
    assert (last.epoch, training.horizon) == (2, 2)
