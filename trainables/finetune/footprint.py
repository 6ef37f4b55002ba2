"""Measures what one trial needs of a GPU: peak memory, time per step, and the share of it that the device computes.

It trains on the longest rows of the real data, at the largest sizes of the search, with the Trainer that trials use.
It must run in a process of its own, alone on the device.
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

WARM_UP, SHORT, LONG, PROFILED = 5, 5, 30, 5  # optimizer steps; the first ones choose kernels and fill the allocator
MOST_BUSY = 1.5  # kernel time over step time: kernels of several streams overlap; more than this is a wrong measurement
NEXT_STEP = "set it to a fraction or 1 by hand"


class Footprint(NamedTuple):
    """The measured needs of one trial on one device."""

    device: str  # its name
    total_bytes: int  # of the device's memory
    peak_bytes: int  # reserved by torch's allocator, in training and evaluation
    context_bytes: int  # other memory in use on the device: of this process, and of others if the device is not idle
    step_seconds: float  # duration of one optimizer step
    busy: float  # share of it in which the device computes, 0..1
    seconds: float  # duration of this measurement


def measure_footprint(params: Params, spec: FineTuneSpec) -> Footprint:
    """Measures a trial with `params` on the first visible device.

    Raises:
        InputError: there is no CUDA device, or the measurement is implausible.
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

    from trainables.finetune.finetune import FineTuning

    training = FineTuning({**spec.fixed, **params}, spec)
    rows = step_of_longest_rows(training)
    _train(training, rows * WARM_UP)
    _evaluate_heaviest(training)
    # A difference, because every `train()` has a fixed cost besides its steps.
    step_seconds = (-_train(training, rows * SHORT) + _train(training, rows * LONG)) / (LONG - SHORT)
    kernel_seconds = _kernel_seconds(training, rows * PROFILED) / PROFILED
    free, total = torch.cuda.mem_get_info()
    if not 0 < kernel_seconds <= MOST_BUSY * step_seconds:
        found = f"kernels of {kernel_seconds:.2g} s in steps of {step_seconds:.2g} s"
        raise InputError("cluster.gpus_per_trial", "auto", f"the measured steps make no sense: {found}", NEXT_STEP)
    return Footprint(
        device=torch.cuda.get_device_name(),
        total_bytes=total,
        peak_bytes=torch.cuda.max_memory_reserved(),
        context_bytes=total - free - torch.cuda.memory_reserved(),
        step_seconds=step_seconds,
        busy=min(kernel_seconds / step_seconds, 1.0),
        seconds=time.monotonic() - began,
    )


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


def _train(training: FineTuning, rows: list[int]) -> float:
    """Trains on `rows`; returns the seconds to the end of the last kernel."""
    import torch

    training.trainer.segment = rows
    torch.cuda.synchronize()
    began = time.monotonic()
    training.trainer.train()
    torch.cuda.synchronize()
    return time.monotonic() - began


def _kernel_seconds(training: FineTuning, rows: list[int]) -> float:
    """The seconds of kernels and copies while training on `rows`; the profiler slows the host down, not the kernels."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        _train(training, rows)
    kernels = (e for e in profiled.events() if e.device_type.name == "CUDA" and not e.is_user_annotation)
    return float(sum(event.self_device_time_total for event in kernels)) / 1e6  # from microseconds
