"""Progress in examples: rates against transformers' own, and the order of rows."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from trainables.finetune.schedule import RUN, Schedule, epoch_order
from trainables.tunables import TUNABLES

pytestmark = pytest.mark.unit

DEFAULTS = {name: tunable.default for name, tunable in TUNABLES.items()}


@pytest.mark.parametrize(
    ("shape", "warmup_steps"),
    [("linear", 0), ("linear", 7), ("cosine", 0), ("cosine", 7), ("constant", 0), ("constant_with_warmup", 7)],
)
def test_rates_are_those_of_transformers_step_by_step(shape: str, warmup_steps: int) -> None:
    steps, batch = 40, 16
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    theirs = get_scheduler(shape, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)
    params = {**DEFAULTS, "learning_rate": 3e-4, "lr_scheduler_type": shape, "warmup_steps": warmup_steps}
    ours = Schedule.of(params, total=steps * batch, step=batch)
    for step in range(steps):
        assert ours.rate(step * batch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_a_constant_rate_honours_the_warm_up_that_a_trial_asks_for() -> None:
    params = {**DEFAULTS, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "warmup_ratio": 0.5}
    schedule = Schedule.of(params, total=100, step=1)
    assert [schedule.rate(at) for at in (0, 25, 50, 99)] == pytest.approx([0, 5e-4, 1e-3, 1e-3])


def test_a_change_of_batch_size_leaves_the_position_in_the_decay_alone() -> None:
    rates = {
        batch: Schedule.of({**DEFAULTS, "learning_rate": 1e-3}, total=4 * 64, step=batch).rate(64)
        for batch in (8, 16, 32)
    }
    assert list(rates.values()) == pytest.approx([0.75e-3] * 3)


def test_the_rate_never_falls_below_zero_after_the_horizon() -> None:
    schedule = Schedule.of({**DEFAULTS, "learning_rate": 1e-3}, total=100, step=16)
    assert schedule.rate(112) == 0.0


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=300),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 9),
    grouped=st.booleans(),
)
def test_an_epoch_is_a_permutation_and_repeats_itself(lengths: list[int], seed: int, epoch: int, grouped: bool) -> None:
    order = epoch_order(lengths, seed=seed, epoch=epoch, group_by_length=grouped)
    assert sorted(order) == list(range(len(lengths)))
    assert order == epoch_order(lengths, seed=seed, epoch=epoch, group_by_length=grouped)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    lengths = list(range(100))
    orders = [epoch_order(lengths, seed=seed, epoch=epoch, group_by_length=True) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_length_grouping_pads_far_less_than_a_shuffle_for_every_batch_size() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = (torch.rand(5000, generator=generator) ** 3 * 250 + 5).int().tolist()

    def padded(grouped: bool, batch: int) -> int:
        order = epoch_order(lengths, seed=0, epoch=0, group_by_length=grouped)
        batches = [order[i : i + batch] for i in range(0, len(order), batch)]
        return sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)

    for batch in (8, 16, 24, 32, RUN):
        assert padded(True, batch) < 1.25 * sum(lengths)
        assert padded(False, batch) > 1.6 * sum(lengths)


def test_even_a_small_split_is_hardly_padded_at_the_usual_batch_sizes() -> None:
    lengths = torch.linspace(20, 128, 128).int().tolist()
    for batch, bound in ((8, 1.08), (16, 1.12), (32, 1.25)):
        order = epoch_order(lengths, seed=0, epoch=0, group_by_length=True)
        batches = [order[i : i + batch] for i in range(0, len(order), batch)]
        assert sum(len(rows) * max(lengths[row] for row in rows) for rows in batches) < bound * sum(lengths)


def test_two_epochs_make_different_batches_of_the_same_neighbours() -> None:
    lengths = torch.linspace(20, 128, 128).int().tolist()
    orders = [epoch_order(lengths, seed=0, epoch=epoch, group_by_length=True) for epoch in range(4)]
    batches = [{frozenset(order[i : i + 16]) for i in range(0, len(order), 16)} for order in orders]
    assert all(len(first & second) <= 2 for first, second in itertools.pairwise(batches))  # of 8
