"""Measures what trials need of a GPU: the peak memory of one, and the speed of several that compute together.

They train on the longest rows of the real data, at the largest sizes of the search, with the Trainer that trials use.
The memory must be measured in a process of its own, alone on the device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from trainables.errors import InputError
from trainables.machine.device_memory import set_allocator
from trainables.machine.devices import training_device, use_assigned_devices
from trainables.spec import FineTuneSpec, Params

if TYPE_CHECKING:
    from trainables.finetune.finetune import FineTuning

WARM_UP = 5  # optimizer steps: the first ones choose kernels and fill the allocator
PIECE = 10  # steps of a `train()` that is timed, which has a fixed cost besides
NEXT_STEP = "set it to a fraction or 1 by hand"


class Footprint(NamedTuple):
    """The measured needs of one trial on one device."""

    device: str  # its name
    total_bytes: int  # of the device's memory
    peak_bytes: int  # reserved by torch's allocator, in training and evaluation
    context_bytes: int  # other memory in use on the device: of this process, and of others if the device is not idle
    seconds: float  # duration of this measurement


def measure_footprint(params: Params, spec: FineTuneSpec) -> Footprint:
    """Measures a trial with `params` on the first visible device.

    Raises:
        InputError: there is no CUDA device.
        DeviceError: there is one that cannot be used.
        TaskError, ModelError: the trial cannot be built.
    """
    use_assigned_devices()
    set_allocator(expandable_segments=spec.expandable_segments)
    import torch

    began = time.monotonic()
    if training_device() == "cpu":
        raise InputError(
            "cluster.gpus_per_trial", "auto", "torch finds no CUDA device to measure a trial on", NEXT_STEP
        )
    training = _built(params, spec)
    _evaluate_heaviest(training)
    _train(training, step_of_longest_rows(training))
    free, total = torch.cuda.mem_get_info()
    return Footprint(
        device=torch.cuda.get_device_name(),
        total_bytes=total,
        peak_bytes=torch.cuda.max_memory_reserved(),
        context_bytes=total - free - torch.cuda.memory_reserved(),
        seconds=time.monotonic() - began,
    )


class TimedTrial:
    """A trial that trains for a moment whenever it is asked to; an actor, so that others can do so beside it.

    Raises:
        DeviceError: the GPU of this process cannot be used.
        TaskError, ModelError: the trial cannot be built.
    """

    def __init__(self, params: Params, spec: FineTuneSpec) -> None:
        use_assigned_devices()
        set_allocator(expandable_segments=spec.expandable_segments)
        self._training = _built(params, spec)
        self._rows = step_of_longest_rows(self._training)

    def steps_per_second(self, seconds: float) -> float:
        """Trains for `seconds` or a little more; returns optimizer steps per second."""
        began, steps = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            _train(self._training, self._rows * PIECE)
            steps += PIECE
        return steps / passed


def _built(params: Params, spec: FineTuneSpec) -> FineTuning:
    """Builds a trial, and makes its first steps."""
    from trainables.finetune.finetune import FineTuning

    training = FineTuning({**spec.fixed, **params}, spec)
    _train(training, step_of_longest_rows(training) * WARM_UP)
    return training


def step_of_longest_rows(training: FineTuning) -> list[int]:
    """The longest training rows, as many as one optimizer step takes; repeated if the split has fewer."""
    args = training.trainer.args
    wanted = args.per_device_train_batch_size * args.gradient_accumulation_steps
    lengths: Sequence[int] = training.data.lengths
    longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])[:wanted]
    return [longest[index % len(longest)] for index in range(wanted)]


def _evaluate_heaviest(training: FineTuning) -> None:
    """Scores the batches of validation rows that take most memory: of the longest rows, and of most tokens."""
    held, batches = training.data.validation, training.trainer.batches
    lengths: Sequence[int] = list(held["length"])
    longest, *others = batches.of(lengths)
    for rows in (longest, max(others, key=lambda rows: batches.tokens_of(rows, lengths), default=longest)):
        training.trainer.predict(held.select(rows))


def _train(training: FineTuning, rows: list[int]) -> None:
    """Trains on `rows`; returns when the last kernel has ended."""
    import torch

    training.trainer.segment = rows
    training.trainer.train()
    if training.device == "cuda":
        torch.cuda.synchronize()
