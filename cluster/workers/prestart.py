"""Starts worker processes, which do their imports, before the first actor needs one.

Ray starts a worker when an actor needs one, and the worker then imports: seconds in which nothing else happens. A node
can start them earlier. It gives such a worker to an actor only if both have the same runtime environment.
Read against ray 2.60: the setting `preload_python_modules`, and what `raylet` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.ray_compat.raylet import raylet_of

KEPT_SECONDS = 120  # a worker that no actor has taken by then may be stopped


def prestart(count: int, environment: Mapping[str, Any]) -> None:
    """Starts `count` workers on the only node, for this driver's actors; returns at once.

    Args:
        count: processes.
        environment: the runtime environment of the actors that will take them.

    Raises:
        ClusterError: the node does not answer.
    """
    import ray

    (node,) = ray.nodes()
    with raylet_of(node) as raylet:
        raylet.prestart(count, environment, KEPT_SECONDS)
