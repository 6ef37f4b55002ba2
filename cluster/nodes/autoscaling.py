"""Clusters that grow: where no node of now can hold a trial, but a launcher may start one that can.

Whether an autoscaler runs is told nowhere. That launchers with one (`ray up`, KubeRay) name each node's group is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from cluster.capacity import ClusterError, Node, trial_resources
from cluster.spec import ClusterSpec

NODE_GROUP = "ray.io/node-group"  # a label of the nodes: RAY_NODE_TYPE_NAME, as they were started


def may_grow(labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is one of a launcher's."""
    return bool(labels.get(NODE_GROUP))


def wait_for_nodes(spec: ClusterSpec) -> tuple[Node, ...]:
    """The nodes of the cluster that this process has joined. Waits for one that holds a trial where one may come.

    Raises:
        ClusterError: no node can hold a trial, and none will come.
    """
    nodes, labels = _nodes_and_labels()
    try:
        trial_resources(spec, nodes)
    except ClusterError as error:
        if not any(map(may_grow, labels)):
            raise
        print(f"tunefleet: {error} Waiting for the cluster's launcher to add a node that can.", file=sys.stderr)
        _request_node(spec)
        nodes, _ = _nodes_and_labels()
    return nodes


def _nodes_and_labels() -> tuple[tuple[Node, ...], list[dict[str, str]]]:
    import ray

    alive: list[dict[str, Any]] = [node for node in ray.nodes() if node["Alive"]]
    return tuple(map(Node.from_ray, alive)), [node.get("Labels") or {} for node in alive]


def _request_node(spec: ClusterSpec) -> None:
    """Autoscalers follow demand: a task that holds what a trial holds, and has run when there is such a node."""
    import ray

    share = spec.gpus_per_trial
    gpus = share if isinstance(share, int | float) else float(share == "auto")
    ray.get(ray.remote(num_cpus=spec.cpus_per_trial, num_gpus=gpus)(lambda: None).remote())
