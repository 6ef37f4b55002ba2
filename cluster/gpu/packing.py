"""How many trials share one GPU, and why: pure arithmetic on what was measured of one trial.

A small model leaves most of a GPU idle: its steps wait for the kernel launches of one Python thread. So k trials are
packed on each device, k the least of what its memory, its kernels, the node's CPUs and the number of trials allow.
Ray's fraction of a GPU is bookkeeping; a slot caps its own memory (`trainables.machine.device_memory`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.capacity import ROUNDING, Node
from cluster.spec import UNITS, TrialResources

MOST_TRIALS = 16  # an MPS server takes 48 clients per device (docs.nvidia.com/deploy/mps); gains end long before
USABLE_MEMORY = 0.9  # of the memory: the rest is for fragmentation and for what the measured steps did not meet


class Load(Protocol):
    """What one trial asks of a device of one kind when it has it for itself.

    `trainables.finetune.footprint` measures it.
    """

    @property
    def total_bytes(self) -> int:
        """The device's memory."""

    @property
    def peak_bytes(self) -> int:
        """The trial's memory on it at the highest."""

    @property
    def context_bytes(self) -> int:
        """What a process takes there besides, plus whatever else lies on the device."""

    @property
    def busy(self) -> float:
        """Share of the time of a step in which the device computes, above 0, at most 1."""


@dataclass(frozen=True)
class Packing:
    """So many trials on each GPU, and what allowed no more."""

    trials_per_gpu: int
    bounds: Mapping[str, int]  # what limits -> how many it allows; empty: declared by the user
    mps: str = ""  # how the processes share the device; empty for one trial per GPU
    measured: tuple[Mapping[str, Any], ...] = ()  # for the record, one per kind of device

    @property
    def share(self) -> float:
        """Of a GPU per trial, rounded down to what Ray counts: as many shares never exceed the GPU."""
        return UNITS // self.trials_per_gpu / UNITS

    def describe(self) -> str:
        """For the header of a run: '8 trials per GPU (the least of 23 by memory, 8 by kernels, ...) under MPS'."""
        allowed = ", ".join(f"{count} by {what}" for what, count in self.bounds.items())
        why = f"the least of {allowed}" if allowed else "as declared"
        trials = f"{self.trials_per_gpu} trial{'s' if self.trials_per_gpu > 1 else ''} per GPU ({why})"
        return f"{trials} {self.mps}" if self.mps else trials


def pack_trials(loads: Sequence[Load], nodes: Sequence[Node], *, cpus_per_trial: float, trials: int) -> Packing:
    """The same number for every GPU: the least over the kinds of device, as all trials of a study hold the same.

    Args:
        loads: one per kind of device.
        nodes: of the cluster; those without a GPU hold no trial.
        trials: the most that ever run at the same time. Ray fills one GPU before the next, so with more places than
            trials some GPUs would stay idle.
    """
    gpu_nodes = [node for node in nodes if node.gpus >= 1]
    gpus = sum(math.floor(node.gpus) for node in gpu_nodes)
    bounds = {
        "memory": min(trials_by_memory(load) for load in loads),
        "kernels": min(trials_by_kernels(load) for load in loads),
        "CPUs": min(math.floor(node.cpus / cpus_per_trial / math.floor(node.gpus) + ROUNDING) for node in gpu_nodes),
        "trials": math.ceil(trials / gpus),
        "MPS": MOST_TRIALS,
    }
    return Packing(max(1, min(bounds.values())), bounds)


def trials_by_memory(load: Load) -> int:
    """How many such trials a device's memory holds."""
    return math.floor(load.total_bytes * USABLE_MEMORY / (load.peak_bytes + load.context_bytes))


def trials_by_kernels(load: Load) -> int:
    """How many such trials keep the device busy all the time, rounded; more would only wait for each other."""
    return math.floor(1 / load.busy + 0.5)


def declared_packing(resources: TrialResources) -> Packing:
    """What a share of a GPU that the user has set amounts to."""
    return Packing(math.floor(1 / resources.gpus + ROUNDING), {})
