"""Runs functions on a given node, as Ray tasks that hold no resources."""

from __future__ import annotations

from typing import Any

CHECK_SECONDS = 2.0  # between two checks that a node that is slow to answer is still alive


def is_alive(node: str | None) -> bool:
    """True if Ray has a living node with that id."""
    import ray

    return ray.is_initialized() and any(n["NodeID"] == node and n["Alive"] for n in ray.nodes())


def run_on_node(node: str, function: Any, *arguments: Any) -> Any:
    """Runs `function` on a node and returns its result; None if the node is lost meanwhile.

    Raises:
        Exception: whatever the function raises.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    answer = start_on_node(node, function, *arguments)
    while not ray.wait([answer], timeout=CHECK_SECONDS)[0]:
        if not is_alive(node):  # Ray waits forever for a task on a node that a silent network has cut off
            return None
    try:
        return ray.get(answer)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from error
    except RayError:
        return None


def start_on_node(node: str, function: Any, *arguments: Any) -> Any:
    """Starts `function` on a node; returns Ray's reference to its result."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, scheduling_strategy=pinned).remote(*arguments)
