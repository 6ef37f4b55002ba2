"""Trainers that other libraries bring: paused they are what they are in a plain `train()`, and PBT can perturb them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback, set_seed

from tests.support import library_trainers
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.user_training import UserTraining

EPOCHS = 3
OWN = {"learning_rate": 2e-3, "weight_decay": 0.1, "per_device_train_batch_size": 16}
OTHER = {"learning_rate": 8e-3, "weight_decay": 0.3, "per_device_train_batch_size": 8}
SPEC = FineTuneSpec(
    trainable="tests.support.library_trainers:causal", epochs=EPOCHS, objective=Objective(metric="loss", mode="min")
)

pytestmark = [
    pytest.mark.unit,
    pytest.mark.parametrize("make", ["causal", "sft_with_lora", "sentence_transformer"]),
]


class Step(NamedTuple):
    """The values in force in an optimizer step: of each parameter group, and of the loader."""

    rates: list[float]
    decays: list[float]
    batches: int  # of one pass over the rows


class Seen(TrainerCallback):
    """Reads off the live objects."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.moments: torch.Tensor | None = None  # as the first step found them

    def on_step_begin(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        if not self.steps and self.moments is None:
            self.moments = moments_of(live["optimizer"])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **live: Any) -> None:
        groups = live["optimizer"].param_groups
        rates, decays = ([group[name] for group in groups] for name in ("lr", "weight_decay"))
        self.steps.append(Step(rates, decays, len(live["train_dataloader"])))


def moments_of(optimizer: Any) -> torch.Tensor:
    return torch.cat([torch.zeros(0), *(state["exp_avg"].flatten() for state in optimizer.state.values())])


def trained_weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])


class Life:
    """A training that is paused, and what was seen of it."""

    def __init__(self, make: str, params: dict[str, Any], folder: Path | None = None) -> None:
        self.training = UserTraining(getattr(library_trainers, make), params, SPEC)
        self.seen = Seen()
        self.training.trainer.add_callback(self.seen)
        if folder is not None:
            self.training.restore(folder)

    def to_the_end(self) -> Life:
        while self.training.epoch < self.training.horizon:
            self.training.advance(1)
        return self


@pytest.fixture
def donor(make: str, tmp_path: Path) -> Life:
    """After the first of three epochs, saved in `tmp_path`."""
    life = Life(make, OWN)
    life.training.advance(1)
    life.training.save(tmp_path)
    return life


def test_paused_it_is_a_plain_training_bit_for_bit(make: str, tmp_path: Path) -> None:
    set_seed(SPEC.training_seeds.head)
    arguments = {"output_dir": str(tmp_path), "num_train_epochs": EPOCHS, "seed": SPEC.training_seeds.head}
    plain = getattr(library_trainers, make)({**OWN, **arguments})
    plain.add_callback(seen := Seen())
    plain.train()
    paused = Life(make, OWN).to_the_end()
    assert paused.seen.steps == seen.steps
    assert len(seen.steps) == EPOCHS * library_trainers.ROWS // OWN["per_device_train_batch_size"]
    assert torch.equal(trained_weights(paused.training.trainer), trained_weights(plain))


def test_with_the_same_values_a_restored_one_ends_where_an_undisturbed_one_does(
    make: str, tmp_path: Path, donor: Life
) -> None:
    undisturbed = donor.to_the_end()  # first: two trainings of one process draw from the same generator
    restored = Life(make, OWN, tmp_path).to_the_end()
    assert restored.seen.steps == undisturbed.seen.steps[3:]
    assert torch.equal(trained_weights(restored.training.trainer), trained_weights(undisturbed.training.trainer))


def test_after_an_exploit_its_own_values_are_in_force_and_the_moments_are_the_donors(
    make: str, tmp_path: Path, donor: Life
) -> None:
    clone = Life(make, OTHER, tmp_path)
    clone.training.advance(1)
    assert clone.seen.moments is not None
    assert clone.seen.moments.count_nonzero() > 0
    assert torch.equal(clone.seen.moments, moments_of(donor.training.trainer.optimizer))
    steps = library_trainers.ROWS // OTHER["per_device_train_batch_size"]
    assert [step.batches for step in clone.seen.steps] == [steps] * steps
    first = clone.seen.steps[0]
    assert first.rates == pytest.approx([OTHER["learning_rate"] * (1 - 1 / EPOCHS)] * len(first.rates))
    assert {*first.decays} <= {OTHER["weight_decay"], 0.0}
    assert OTHER["weight_decay"] in first.decays


def test_a_checkpoint_holds_what_is_trained(make: str, tmp_path: Path, donor: Life) -> None:
    """The state of a model with an adapter holds the adapter alone."""
    (file,) = tmp_path.glob("*.safetensors")
    held = sum(tensor.numel() for tensor in load_file(file).values())
    trained = trained_weights(donor.training.trainer).numel()
    assert held == trained


def test_nothing_is_left_in_the_folder_that_it_runs_in(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Life(make, OWN).training.advance(1)
    assert not list(tmp_path.iterdir())
