"""The learning rate as a function of progress, and the order of rows as a function of the epoch.

Progress is counted in examples, not in steps: both keep their place when the batch size changes in the middle of a run
(steps would not: https://github.com/huggingface/transformers counts `global_step`). With a constant batch size that
divides the split, the rates are those of `transformers.get_scheduler`, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from trainables.spec import Params

Rows = npt.NDArray[np.int64]

# After the warm-up: the share of the peak rate at the share `t` of the remaining way, both in [0, 1].
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
    "constant": lambda t: 1.0,  # here a warm-up that a trial asks for is in force; transformers ignores it
    "constant_with_warmup": lambda t: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """Peak rate, warm-up and decay of one trial, over its whole horizon.

    All lengths in examples. `warmup_steps` are optimizer steps of the batch size in force, so a PBT member that
    changes its batch size also changes how many examples they mean; past the warm-up that only shifts the decay.
    """

    peak: float
    shape: str
    warmup: float
    total: float

    @classmethod
    def of(cls, params: Params, *, total: float, step: int) -> Schedule:
        """Read the schedule off a trial's params.

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
    """Sets the rate of all parameter groups from the examples seen. The Trainer calls `step` after each optimizer step.

    Args:
        optimizer: all groups get the same rate.
        schedule: the rate by position.
        position: examples seen so far; read at each step.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: Schedule, position: Callable[[], int]) -> None:
        self.schedule, self.position = schedule, position
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate at the current position, per group."""
        return [self.schedule.rate(self.position())] * len(self.optimizer.param_groups)


# Rows are sorted by length inside a window of this many, as a batch of any size should hold rows of like length while
# the order of lengths over the epoch stays random. So the sorted window is cut into runs of RUN, which are shuffled;
# a run is halved and the halves are swapped or not, down to leaves of LEAF rows. A batch of 8, 16, 32 or 64 rows
# is then a stretch of the sorted window, and the order knows nothing of the batch size.
WINDOW = 1024
RUN = 64
LEAF = 8
JITTER = 0.1  # lengths are sorted with up to this share of noise, so that two epochs do not make the same batches


def epoch_order(lengths: Sequence[int], *, seed: int, epoch: int, group_by_length: bool) -> list[int]:
    """The order of rows in one epoch: a permutation of range(len(lengths)) that depends on nothing but the arguments.

    It does not depend on the batch size, so an epoch can be left and taken up again at any row with another one.

    Args:
        lengths: tokens per row.
        seed: of the trial.
        epoch: 0 for the first pass.
        group_by_length: neighbours are alike in length; else a plain shuffle.
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


def _swapped(run: Rows, rng: np.random.Generator) -> Rows:
    """The rows of a sorted run with halves swapped at random, at every level; leaves are shuffled."""
    if len(run) <= LEAF:
        return rng.permutation(run)
    half = 1 << ((len(run) - 1).bit_length() - 1)
    front, back = _swapped(run[:half], rng), _swapped(run[half:], rng)
    swap = len(front) == len(back) and rng.random() < 0.5  # a shorter back would move the front out of its place
    return np.concatenate([back, front] if swap else [front, back])
