"""Computes how many trials share one GPU, and why; pure arithmetic on what was measured of trials.

A small model leaves most of a GPU idle: its steps wait for the kernel launches of one Python thread. So several trials
are packed on each device: as many as its memory, the node's CPUs and the number of trials all allow, if so many compute
faster together than fewer do. That is timed: how busy one trial keeps a device does not say how full its kernels leave
the multiprocessors. Ray's fraction of a GPU is bookkeeping; a slot caps its own memory
(`trainables.machine.device_memory`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cluster.capacity import ROUNDING, Node
from cluster.spec import UNITS, TrialResources

MOST_TRIALS = 16  # an MPS server accepts 48 clients per device (docs.nvidia.com/deploy/mps); gains end long before
COUNTS = (1, 4, 8)  # so many trials are timed together, and the most that could share a GPU
WORTHWHILE = 1.05  # times the speed of fewer trials; two measurements differ by less
USABLE_MEMORY = 0.9  # share; the rest is for fragmentation and for peaks beyond the measured steps


class Load(Protocol):
    """The memory that one trial needs of a device of its own; `trainables.finetune.footprint` measures it."""

    @property
    def total_bytes(self) -> int:
        """The memory of the device, in bytes."""

    @property
    def peak_bytes(self) -> int:
        """The trial's peak memory on the device, in bytes."""

    @property
    def context_bytes(self) -> int:
        """The memory of a process besides, plus whatever else lies on the device, in bytes."""


@dataclass(frozen=True)
class Packing:
    """The number of trials that run on each GPU, and what limits it."""

    trials_per_gpu: int
    bounds: Mapping[str, int]  # what limits -> how many it allows; empty: declared by the user
    mps: str = ""  # how the processes share the device; empty for one trial per GPU
    measured: tuple[Mapping[str, Any], ...] = ()  # for the record, one per kind of device

    @property
    def share(self) -> float:
        """The share of a GPU per trial, rounded down to Ray's units, so that all shares together fit on the GPU."""
        return UNITS // self.trials_per_gpu / UNITS

    def as_timed(self, speeds: Sequence[Mapping[int, float]]) -> Packing:
        """Returns the packing with no more trials per GPU than were worth it when they were timed together.

        Args:
            speeds: from `time_together`, one per kind of device; the kind that gains least decides for all.
        """
        bounds = {**self.bounds, "speed": min(best_count(found) for found in speeds)}
        return replace(self, trials_per_gpu=min(self.trials_per_gpu, bounds["speed"]), bounds=bounds)

    def describe(self) -> str:
        """Returns a clause for a run's header: '8 trials per GPU (the least of 23 by memory, ...) under MPS'."""
        allowed = ", ".join(f"{count} by {what}" for what, count in self.bounds.items())
        why = f"the least of {allowed}" if allowed else "as declared"
        trials = f"{self.trials_per_gpu} trial{'s' if self.trials_per_gpu > 1 else ''} per GPU ({why})"
        return f"{trials} {self.mps}" if self.mps else trials


def pack_trials(loads: Sequence[Load], nodes: Sequence[Node], *, cpus_per_trial: float, trials: int) -> Packing:
    """Returns how many trials could share each GPU: the least over all kinds of device, as all trials hold the same.

    Args:
        loads: one per kind of device.
        nodes: of the cluster; those without a GPU hold no trial.
        cpus_per_trial: logical cores.
        trials: the most that ever run at a time. Ray fills one GPU before the next, so a higher number per GPU would
            leave some GPUs idle.
    """
    gpu_nodes = [node for node in nodes if node.gpus >= 1]
    gpus = sum(math.floor(node.gpus) for node in gpu_nodes)
    bounds = {
        "memory": min(trials_by_memory(load) for load in loads),
        "CPUs": min(math.floor(node.cpus / cpus_per_trial / math.floor(node.gpus) + ROUNDING) for node in gpu_nodes),
        "trials": math.ceil(trials / gpus),
        "MPS": MOST_TRIALS,
    }
    return Packing(max(1, min(bounds.values())), bounds)


def trials_by_memory(load: Load) -> int:
    """Returns how many such trials fit in a device's memory."""
    return math.floor(load.total_bytes * USABLE_MEMORY / (load.peak_bytes + load.context_bytes))


def time_together(most: int, speed_of: Callable[[int], float]) -> dict[int, float]:
    """Times more and more trials on one GPU, until more of them are not worth it.

    Args:
        most: no more than these.
        speed_of: returns the optimizer steps per second of so many trials that compute at the same time, in all.

    Returns:
        Steps per second by the number of trials.
    """
    speeds: dict[int, float] = {}
    for count in (*(count for count in COUNTS if count < most), most):
        speeds[count] = speed_of(count)
        if best_count(speeds) != count:
            break
    return speeds


def best_count(speeds: Mapping[int, float]) -> int:
    """Returns the fewest trials that are about as fast together as the fastest number of them."""
    fastest = max(speeds.values())
    return min(count for count, speed in speeds.items() if speed * WORTHWHILE >= fastest)


def declared_packing(resources: TrialResources) -> Packing:
    """Returns the packing that follows from the share of a GPU that the user has set."""
    return Packing(math.floor(1 / resources.gpus + ROUNDING), {})
