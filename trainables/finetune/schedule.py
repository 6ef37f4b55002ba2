"""The learning rate as a function of examples seen, and the order of rows as a function of the epoch.

Progress is counted in examples, because steps (transformers' `global_step`) change their meaning when the batch size
changes during a trial. With a constant batch size that divides the split, the rates equal those of
`transformers.get_scheduler` step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from trainables.spec import Params

RowIndices = npt.NDArray[np.int64]

# After the warm-up: rate / peak rate at the fraction `t` of the remaining examples, both in [0, 1].
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
    "constant": lambda t: 1.0,  # unlike transformers, with the warm-up that the trial sets
    "constant_with_warmup": lambda t: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """Peak rate, warm-up and decay of one trial over its whole horizon.

    `warmup_steps` are optimizer steps at the batch size in force. So a PBT member that changes its batch size changes
    how many examples they mean; after the warm-up that only shifts the decay.
    """

    peak: float  # learning rate
    shape: str  # a key of SHAPES
    warmup: float  # examples
    total: float  # examples

    @classmethod
    def of(cls, params: Params, *, total: float, step: int) -> Schedule:
        """Creates the schedule of a trial's params.

        Args:
            params: complete values (defaults filled in).
            total: examples in the trial's horizon.
            step: examples per optimizer step.
        """
        ratio, steps = float(params["warmup_ratio"] or 0), float(params["warmup_steps"] or 0)
        warmup = ratio * total if ratio else steps * step
        return cls(float(params["learning_rate"] or 0), str(params["lr_scheduler_type"]), warmup, total)

    def rate(self, examples: float) -> float:
        """The learning rate of the optimizer step that starts after `examples` examples."""
        if examples < self.warmup:
            return self.peak * examples / self.warmup
        way = max(self.total - self.warmup, 1.0)
        return self.peak * max(0.0, SHAPES[self.shape](min((examples - self.warmup) / way, 1.0)))


class ProgressSchedule(torch.optim.lr_scheduler.LRScheduler):
    """Sets the rate of all parameter groups from the examples seen; the Trainer calls `step` after each optimizer step.

    Args:
        optimizer: all of its groups get the same rate.
        schedule: the rate as a function of examples.
        position: returns the examples seen so far; called at each step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, position: Callable[[], int]) -> None:
        self.schedule, self.position = schedule, position
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate at the current position, per group."""
        return [self.schedule.rate(self.position())] * len(self.optimizer.param_groups)


# Batches of any size should hold rows of similar length, while the order of lengths over the epoch stays random. So
# rows are sorted by length within a WINDOW. The window is cut into runs of RUN rows, which are shuffled. Each run is
# halved, and the halves are swapped at random, down to leaves of LEAF rows. A batch of 8, 16, 32 or 64 rows is then
# a contiguous part of the sorted window, and the order does not depend on the batch size.
WINDOW = 1024
RUN = 64
LEAF = 8
JITTER = 0.1  # lengths are multiplied by up to 1 + this before sorting, so that epochs have different batches


def epoch_order(lengths: Sequence[int], *, seed: int, epoch: int, group_by_length: bool) -> list[int]:
    """The order of rows in one epoch: a permutation of range(len(lengths)), a pure function of the arguments.

    It does not depend on the batch size, so a training can stop at any row and continue with another batch size.

    Args:
        lengths: tokens per row.
        seed: of the order of the rows.
        epoch: 0 for the first pass.
        group_by_length: neighbours have similar lengths; else a plain shuffle.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    if group_by_length:
        noisy = np.asarray(lengths) * (1 + JITTER * rng.random(len(lengths)))
        windows = [order[i : i + WINDOW] for i in range(0, len(order), WINDOW)]
        windows = [window[np.argsort(noisy[window], kind="stable")] for window in windows]
        runs = [_swapped(window[i : i + RUN], rng) for window in windows for i in range(0, len(window), RUN)]
        # The run that is shorter than RUN goes last, so that batches keep their places in the runs.
        full = [run for run in runs if len(run) == RUN]
        short = [run for run in runs if len(run) < RUN]
        order = np.concatenate([*(full[i] for i in rng.permutation(len(full))), *short])
    return [int(i) for i in order]


def _swapped(run: RowIndices, rng: np.random.Generator) -> RowIndices:
    """Swaps the halves of a sorted run at random, recursively; leaves are shuffled."""
    if len(run) <= LEAF:
        return rng.permutation(run)
    half = 1 << ((len(run) - 1).bit_length() - 1)
    front, back = _swapped(run[:half], rng), _swapped(run[half:], rng)
    swap = len(front) == len(back) and rng.random() < 0.5  # a shorter back half would misalign the front half
    return np.concatenate([back, front] if swap else [front, back])
