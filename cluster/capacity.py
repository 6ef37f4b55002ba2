"""Computes how many trials the nodes of a cluster hold; pure arithmetic on what Ray reports about them.

In: nodes, as `ray.nodes()` lists them, and the `cluster:` section of a spec. Out: the resources of one trial, or a
`ClusterError` that says why none fits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from cluster.spec import ClusterSpec, TrialResources

ROUNDING = 1e-6  # Ray counts resources in steps of 1e-4


class ClusterError(RuntimeError):
    """The cluster cannot be used as declared. The message names the option, its value, the rule and the next step."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, as Ray describes it."""

    id: str
    address: str
    cpus: float
    gpus: float
    accelerator: str | None  # such as "H200"; None where Ray found no device of its own

    @classmethod
    def from_ray(cls, node: Mapping[str, Any]) -> Self:
        """Reads one entry of `ray.nodes()`."""
        resources = node["Resources"]
        kinds = (name.partition(":")[2] for name in resources if name.startswith("accelerator_type:"))
        return cls(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            cpus=resources.get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            accelerator=next(kinds, None),
        )

    def holds(self, trial: TrialResources) -> int:
        """Returns how many such trials fit at a time. A share lies within one GPU; several GPUs lie on one node."""
        by_cpus = math.floor(self.cpus / trial.cpus + ROUNDING)
        if trial.gpus == 0:
            return by_cpus
        if trial.gpus > 1:
            return min(by_cpus, math.floor(self.gpus / trial.gpus + ROUNDING))
        per_gpu = math.floor(1 / trial.gpus + ROUNDING)
        return min(by_cpus, math.floor(self.gpus + ROUNDING) * per_gpu)


def startable(trial: TrialResources, free: Mapping[str, float]) -> int:
    """Returns how many such trials could start with what is free of a cluster, at most.

    Ray tells what is free as a sum over nodes and GPUs, so leftovers that are each too small for a trial may add up.

    Args:
        trial: what one trial holds.
        free: by Ray's name of the resource, "CPU" or "GPU"; a resource of which nothing is free may be absent.
    """
    by_cpus = math.floor(free.get("CPU", 0.0) / trial.cpus + ROUNDING)
    if trial.gpus == 0:
        return by_cpus
    return min(by_cpus, math.floor(free.get("GPU", 0.0) / trial.gpus + ROUNDING))


def trial_resources(spec: ClusterSpec, nodes: Sequence[Node]) -> TrialResources:
    """Returns what one trial holds on these nodes; an undeclared `gpus_per_trial` is 1 where there are GPUs.

    With `auto` it is 1 as well, for the trial that is measured; `cluster.gpu.packing` turns it into a share.

    Raises:
        ClusterError: no single node can hold a trial, or `auto` has no device to measure on.
    """
    gpus = spec.gpus_per_trial
    if gpus == "auto":
        _refuse_to_measure(nodes)
        gpus = 1.0
    elif gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    trial = TrialResources(cpus=spec.cpus_per_trial, gpus=gpus)
    most_gpus = max((node.gpus for node in nodes), default=0.0)
    most_cpus = max((node.cpus for node in nodes), default=0.0)
    if gpus > most_gpus:
        has, step = "0 GPUs", "Set it to 0 to train on CPU, or join a cluster with GPUs"
        if most_gpus:
            has = f"{most_gpus:g} GPU{'' if most_gpus == 1 else 's'}"
            step = f"Set it to {most_gpus:g} or less, as a trial runs on one node, or join a cluster with larger ones"
        raise ClusterError(
            f"cluster.gpus_per_trial: {gpus:g}, but the largest node has {has}. {step} through cluster.address."
        )
    if trial.cpus > most_cpus:
        raise ClusterError(
            f"cluster.cpus_per_trial: {trial.cpus:g}, but the largest node has {most_cpus:g} CPUs. "
            f"Set it to {most_cpus:g} or less, or join a larger cluster through cluster.address."
        )
    if not any(node.holds(trial) for node in nodes):
        raise ClusterError(
            f"cluster.cpus_per_trial: {trial.cpus:g} with cluster.gpus_per_trial: {gpus:g}, but no single node "
            "has both. Lower one of them: a trial runs on one node."
        )
    return trial


def _refuse_to_measure(nodes: Sequence[Node]) -> None:
    with_gpus = [node for node in nodes if node.gpus]
    logical = [node.address for node in with_gpus if node.accelerator is None]
    if with_gpus and not logical:
        return
    found = f"the GPUs of {', '.join(logical)} are logical, without a device" if logical else "no node has a GPU"
    raise ClusterError(
        f"cluster.gpus_per_trial: auto measures a trial on a GPU, but {found}. "
        "Set it to 0, a fraction or 1, or join a cluster with GPUs through cluster.address."
    )
