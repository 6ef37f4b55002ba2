"""Clusters that grow: waits for a node that can hold a trial, if a launcher may add one.

Ray does not report whether an autoscaler runs. But launchers that have one (`ray up`, KubeRay) label each node with its
group.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from cluster.capacity import ClusterError, Node, trial_resources
from cluster.spec import ClusterSpec

NODE_GROUP = "ray.io/node-group"  # a label of the nodes: RAY_NODE_TYPE_NAME, as they were started


def may_grow(labels: Mapping[str, str]) -> bool:
    """True if a node with these labels was started by a launcher with an autoscaler."""
    return bool(labels.get(NODE_GROUP))


def wait_for_nodes(spec: ClusterSpec) -> tuple[Node, ...]:
    """Returns the nodes of the cluster that this process has joined, after waiting for one that can hold a trial.

    Raises:
        ClusterError: no node can hold a trial, and no launcher will add one.
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
    """Creates demand for the autoscaler: runs a task that needs what a trial needs, and so waits for such a node."""
    import ray

    share = spec.gpus_per_trial
    gpus = share if isinstance(share, int | float) else float(share == "auto")
    ray.get(ray.remote(num_cpus=spec.cpus_per_trial, num_gpus=gpus)(lambda: None).remote())
