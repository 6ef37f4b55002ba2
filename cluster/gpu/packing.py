"""Computes how many trials share one GPU, and why; pure arithmetic on what was measured of one trial.

A small model leaves most of a GPU idle: its steps wait for the kernel launches of one Python thread. So several trials
are packed on each device: as many as its memory, its kernels, the node's CPUs and the number of trials all allow. Ray's
fraction of a GPU is bookkeeping; a slot caps its own memory (`trainables.machine.device_memory`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.capacity import ROUNDING, Node
from cluster.spec import UNITS, TrialResources

MOST_TRIALS = 16  # an MPS server accepts 48 clients per device (docs.nvidia.com/deploy/mps); gains end long before
USABLE_MEMORY = 0.9  # share; the rest is for fragmentation and for peaks beyond the measured steps


class Load(Protocol):
    """The memory that one trial needs of a device of its own, and its share of the device's time.

    `trainables.finetune.footprint` measures both.
    """

    @property
    def total_bytes(self) -> int:
        """The memory of the device, in bytes."""

    @property
    def peak_bytes(self) -> int:
        """The trial's peak memory on the device, in bytes."""

    @property
    def context_bytes(self) -> int:
        """The memory of a process besides, plus whatever else lies on the device, in bytes."""

    @property
    def busy(self) -> float:
        """The share of a step's time in which the device computes, in (0, 1]."""


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

    def describe(self) -> str:
        """Returns a clause for a run's header: '8 trials per GPU (the least of 23 by memory, ...) under MPS'."""
        allowed = ", ".join(f"{count} by {what}" for what, count in self.bounds.items())
        why = f"the least of {allowed}" if allowed else "as declared"
        trials = f"{self.trials_per_gpu} trial{'s' if self.trials_per_gpu > 1 else ''} per GPU ({why})"
        return f"{trials} {self.mps}" if self.mps else trials


def pack_trials(loads: Sequence[Load], nodes: Sequence[Node], *, cpus_per_trial: float, trials: int) -> Packing:
    """Returns how many trials share each GPU: the least over all kinds of device, as all trials hold the same.

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
        "kernels": min(trials_by_kernels(load) for load in loads),
        "CPUs": min(math.floor(node.cpus / cpus_per_trial / math.floor(node.gpus) + ROUNDING) for node in gpu_nodes),
        "trials": math.ceil(trials / gpus),
        "MPS": MOST_TRIALS,
    }
    return Packing(max(1, min(bounds.values())), bounds)


def trials_by_memory(load: Load) -> int:
    """Returns how many such trials fit in a device's memory."""
    return math.floor(load.total_bytes * USABLE_MEMORY / (load.peak_bytes + load.context_bytes))


def trials_by_kernels(load: Load) -> int:
    """Returns how many such trials keep the device busy all the time, rounded; more would wait for each other."""
    return math.floor(1 / load.busy + 0.5)


def declared_packing(resources: TrialResources) -> Packing:
    """Returns the packing that follows from the share of a GPU that the user has set."""
    return Packing(math.floor(1 / resources.gpus + ROUNDING), {})
