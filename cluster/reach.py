"""What a cluster of several machines needs more than one: our code on each of them, and the storage in reach of all."""

from __future__ import annotations

import importlib.util
import os
import socket
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cluster.capacity import ClusterError, Node

PACKAGES = ("cluster", "trainables", "tuning")
LOOK_SECONDS = 60.0  # a first worker on a node starts within this


def other_hosts(hosts: Collection[str]) -> list[str]:
    """The machines of `hosts` that are not this one, sorted."""
    return sorted(set(hosts) - {socket.gethostname()})


def shipped(hosts: Collection[str], modules: Sequence[str]) -> dict[str, Any] | None:
    """The runtime environment that brings our packages and the user's `modules` to `hosts`; None where all have them.

    Workers on this machine import from where the driver does, and those of a Ray job from the job's own copy: without
    a runtime environment they start a second sooner.

    Raises:
        ClusterError: one of `modules` is not found here.
    """
    if not other_hosts(hosts) or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    return {"py_modules": [str(_source(name)) for name in (*PACKAGES, *modules)]}


def _source(name: str) -> Path:
    """The folder of a package, or the file of a module."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ClusterError(f"trainable: module {name!r} is not found on this machine. Is its folder on PYTHONPATH?")
    origin = Path(found.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def check_storage(folder: Path, nodes: Sequence[Node]) -> None:
    """Create `folder` and make sure that every other node sees the same one.

    Raises:
        ClusterError: it cannot be written here, or a node does not see it.
    """
    marker = folder / f".seen-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise ClusterError(
            f"cluster.storage: {folder} cannot be written: {error.strerror}. Set cluster.storage to another folder."
        ) from error
    try:
        blind = _nodes_that_miss(marker, nodes)
    finally:
        marker.unlink(missing_ok=True)
    if blind:
        raise ClusterError(
            f"cluster.storage: {folder} is not visible from {', '.join(blind)}. "
            "Set cluster.storage to a folder that every node mounts, such as a network file system."
        )


def _nodes_that_miss(marker: Path, nodes: Sequence[Node]) -> list[str]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def sees(path: str) -> bool:
        return Path(path).exists()

    here = ray.get_runtime_context().get_node_id()
    others = [node for node in nodes if node.id != here]
    look = ray.remote(num_cpus=0)(sees)
    answers = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(str(marker))
        for node in others
    ]
    try:
        seen = ray.get(answers, timeout=LOOK_SECONDS)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"cluster.storage: whether all nodes see {marker.parent} could not be checked: {error}. "
            "Look at the state of the nodes with `ray status`."
        ) from error
    return [node.address for node, found in zip(others, seen, strict=True) if not found]
