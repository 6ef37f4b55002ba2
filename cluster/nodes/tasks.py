"""Functions that run on a node of one's choice, as Ray tasks that hold no resources."""

from __future__ import annotations

from typing import Any

CHECK_SECONDS = 2.0  # seconds between two looks at whether a node that is slow to answer is still there


def is_alive(node: str | None) -> bool:
    """Whether Ray has such a node now."""
    import ray

    return ray.is_initialized() and any(n["NodeID"] == node and n["Alive"] for n in ray.nodes())


def run_on_node(node: str, function: Any, *arguments: Any) -> Any:
    """What `function` returns there; None if the node is lost meanwhile.

    Raises:
        Exception: whatever the function raises.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    answer = start_on_node(node, function, *arguments)
    while not ray.wait([answer], timeout=CHECK_SECONDS)[0]:
        if not is_alive(node):  # Ray waits for ever for a task on a node that a silent network has cut off
            return None
    try:
        return ray.get(answer)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from error
    except RayError:
        return None


def start_on_node(node: str, function: Any, *arguments: Any) -> Any:
    """Ray's reference to what `function` will return there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, scheduling_strategy=pinned).remote(*arguments)
