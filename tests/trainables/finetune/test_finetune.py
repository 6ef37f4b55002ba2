"""A fine-tuning trial is repeatable, counts examples, and has its own values in force after an exploit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from trainables.finetune.finetune import FineTuning
from trainables.lookup import build_training
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Subset

pytestmark = pytest.mark.unit

DONOR = {
    "learning_rate": 3e-3,
    "weight_decay": 0.2,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "per_device_train_batch_size": 16,
    "model.hidden_dropout_prob": 0.3,
}
CLONE = {
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "adam_beta1": 0.9,
    "adam_beta2": 0.99,
    "per_device_train_batch_size": 8,
    "model.hidden_dropout_prob": 0.0,
}


@pytest.fixture(scope="module")
def spec(tiny_spec: FineTuneSpec) -> FineTuneSpec:
    return tiny_spec


class Steps(TrainerCallback):  # type: ignore[misc]
    """Reads the optimizer just before each of its steps."""

    def __init__(self, training: FineTuning) -> None:
        self.training = training
        self.groups: list[dict[str, Any]] = []
        self.moments: list[torch.Tensor] = []
        self.before: list[int] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.before.append(self.training.examples)
        state = self.training.optimizer.state
        if state:
            self.moments.append(torch.cat([s["exp_avg"].flatten().clone() for s in state.values()]))

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.groups.append(
            {k: v for k, v in self.training.optimizer.param_groups[0].items() if k in ("lr", "betas", "weight_decay")}
        )


def watch(training: FineTuning) -> Steps:
    steps = Steps(training)
    training.trainer.add_callback(steps)
    return steps


def weights(training: FineTuning) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in training.model.parameters()])


def seen(training: FineTuning, epochs: float) -> list[int]:
    """Train on; the rows that it has trained on, in their order."""
    training.advance(epochs)
    return list(training.trainer.segment)


def test_two_trials_with_equal_params_are_equal_bit_for_bit(spec: FineTuneSpec) -> None:
    first = FineTuning(DONOR, spec)
    scores = [first.advance(1) for _ in range(2)]
    FineTuning(CLONE, spec).advance(1)  # another trial in the same process leaves nothing behind
    second = FineTuning(DONOR, spec)
    assert [second.advance(1) for _ in range(2)] == scores
    assert torch.equal(weights(first), weights(second))


def test_the_order_of_rows_and_the_head_have_seeds_of_their_own(spec: FineTuneSpec) -> None:
    one, ordered, headed = (
        FineTuning(CLONE, spec.model_copy(update=own)) for own in ({}, {"data_order_seed": 5}, {"head_seed": 5})
    )
    assert torch.equal(weights(one), weights(ordered))
    assert not torch.equal(weights(one), weights(headed))
    rows, rows_ordered, rows_headed = (seen(training, 0.25) for training in (one, ordered, headed))
    assert rows == rows_headed != rows_ordered


def test_seeds_that_are_searched_are_those_of_the_spec(spec: FineTuneSpec) -> None:
    given = spec.model_copy(update={"data_order_seed": 5, "head_seed": 6})
    searched = build_training({**CLONE, "data_order_seed": 5, "head_seed": 6}, spec)
    assert isinstance(searched, FineTuning)
    held = FineTuning(CLONE, given)
    assert torch.equal(weights(searched), weights(held))
    assert seen(searched, 0.25) == seen(held, 0.25)


def test_a_trial_learns_and_reports_its_epochs(spec: FineTuneSpec) -> None:
    all_rows = spec.model_copy(update={"data": spec.data.model_copy(update={"subset": Subset()})})
    training = FineTuning({"learning_rate": 3e-3, "per_device_train_batch_size": 8}, all_rows)
    reports = [training.advance(1) for _ in range(4)]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1].metrics["accuracy"] > 0.9
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]


def test_the_first_steps_use_the_schedule_from_its_start(spec: FineTuneSpec) -> None:
    training = FineTuning({"learning_rate": 1e-3, "warmup_steps": 4, "per_device_train_batch_size": 8}, spec)
    steps = watch(training)
    training.advance(0.5)
    assert [group["lr"] for group in steps.groups[:5]] == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3])


def test_half_epochs_see_the_rows_of_whole_epochs(spec: FineTuneSpec) -> None:
    whole, halves = FineTuning(DONOR, spec), FineTuning(DONOR, spec)
    size = len(whole.data.train)
    rows = [row for _ in range(2) for row in seen(whole, 1)]
    assert [row for _ in range(4) for row in seen(halves, 0.5)] == rows
    assert sorted(rows[:size]) == sorted(rows[size:]) == list(range(size))


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(spec: FineTuneSpec, tmp_path: Path) -> None:
    straight = FineTuning(DONOR, spec)
    expected = [straight.advance(1) for _ in range(3)]
    before = FineTuning(DONOR, spec)
    before.advance(1)
    before.save(tmp_path)
    torch.manual_seed(99)
    after = FineTuning(DONOR, spec)
    after.restore(tmp_path)
    assert [after.advance(1) for _ in range(2)] == expected[1:]
    assert torch.equal(weights(straight), weights(after))


def test_after_an_exploit_state_is_the_donors_and_values_are_the_clones(spec: FineTuneSpec, tmp_path: Path) -> None:
    donor = FineTuning(DONOR, spec)
    score = donor.advance(1).metrics
    donor.save(tmp_path)
    moments = torch.cat([s["exp_avg"].flatten().clone() for s in donor.optimizer.state.values()])

    clone = FineTuning(CLONE, spec)
    clone.restore(tmp_path)
    assert clone.score("validation").metrics == score
    assert torch.equal(weights(clone), weights(donor))
    steps = watch(clone)
    rows_left = seen(clone, 1)

    size = len(clone.data.train)
    first = steps.groups[0]
    assert torch.equal(steps.moments[0], moments)
    assert first["lr"] == pytest.approx(1e-3 * (1 - size / (4 * size)))
    assert first["betas"] == (0.9, 0.99)
    assert first["weight_decay"] == 0.05
    assert {m.p for n, m in clone.model.named_modules() if isinstance(m, torch.nn.Dropout) and "output" in n} == {0.0}
    assert steps.before[:2] == [size, size + 8]  # one batch of the clone's own size further
    assert len(steps.before) == -(-size // 8)
    assert sorted(rows_left) == list(range(size))  # no row of the second epoch twice, none left out
    assert clone.in_force() == {**clone.params, **CLONE}


@pytest.mark.parametrize(("before", "after"), [(16, 32), (16, 8), (32, 16)])
def test_a_new_batch_size_neither_skips_nor_repeats(
    spec: FineTuneSpec, tmp_path: Path, before: int, after: int
) -> None:
    donor = FineTuning({"per_device_train_batch_size": before}, spec)
    donor.advance(1)
    donor.save(tmp_path)
    clone = FineTuning({"per_device_train_batch_size": after}, spec)
    clone.restore(tmp_path)
    steps = watch(clone)
    assert [clone.advance(1).epoch for _ in range(3)] == [2, 3, 4]
    size = len(clone.data.train)
    assert clone.examples == 4 * size
    assert len(steps.groups) == 3 * -(-size // after)


def test_gradient_accumulation_counts_examples_and_keeps_the_last_short_step(spec: FineTuneSpec) -> None:
    training = FineTuning({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 3}, spec)
    steps = watch(training)
    training.advance(1)
    size = len(training.data.train)
    assert training.examples == size
    batches = math.ceil(size / 8)
    assert len(steps.groups) == math.ceil(batches / 3)


def test_label_smoothing_is_trained_with_but_not_scored_with(spec: FineTuneSpec) -> None:
    plain, smooth = (FineTuning({"label_smoothing_factor": s}, spec) for s in (0.0, 0.5))
    assert plain.score("validation") == smooth.score("validation")
    assert plain.advance(1).metrics["loss"] != smooth.advance(1).metrics["loss"]


def test_a_checkpoint_that_lacks_a_part_is_no_checkpoint(spec: FineTuneSpec, tmp_path: Path) -> None:
    training = FineTuning(DONOR, spec)
    training.save(tmp_path)
    (tmp_path / "moments.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"moments\.pt"):
        training.restore(tmp_path)


def test_another_architecture_is_refused_on_restore(spec: FineTuneSpec, tmp_path: Path) -> None:
    training = FineTuning(DONOR, spec)
    training.save(tmp_path)
    smaller = FineTuning({**DONOR, "model.num_hidden_layers": 1}, spec)
    with pytest.raises(RuntimeError, match="layer"):
        smaller.restore(tmp_path)


def test_a_trial_with_fewer_epochs_of_its_own_ends_there(spec: FineTuneSpec) -> None:
    training = FineTuning({"num_train_epochs": 1.5}, spec)
    assert [training.advance(1).epoch for _ in range(2)] == [1, 1.5]
    assert training.schedule.get_lr()[0] == 0


def test_a_training_loss_that_is_not_finite_ends_the_trial_before_it_is_scored(spec: FineTuneSpec) -> None:
    training = FineTuning({"learning_rate": 1e30, "max_grad_norm": 0.0}, spec)
    with pytest.raises(NonFiniteScore, match=r"training loss is (nan|inf) at epoch 1 with learning_rate=1e\+30"):
        training.advance(1)
