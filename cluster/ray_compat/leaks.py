"""Releases cores and GPUs that Ray holds for nobody.

A placement group may go away in the few milliseconds between "reserved on its node" and "created"; a driver that is
killed at that moment is enough. It then stays reserved as long as the node lives: the head releases the bundles that
were created, and there are none (`GcsPlacementGroupScheduler::CommitAllBundles`;
https://github.com/ray-project/ray/issues/64693 is its neighbour). Every later run lacks that slot. The head
still lists such a group, as removed and never created, with its node, and the node releases it on request.
Read against ray 2.60; `tests/cluster/ray_compat/test_leaks.py` makes such leaks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cluster.capacity import ClusterError
from cluster.ray_compat.raylet import raylet_of

LISTED = ("CPU", "GPU")
PERIOD = 60.0  # seconds between two checks in a run, at least
SHARE = 0.01  # of the driver's time at most: the list of groups grows with a cluster's life, 30 ms per 1,000

logger = logging.getLogger(__name__)


class LeakCheck:
    """Checks for leaks during a run, which creates and drops groups, too.

    Args:
        period: seconds between two checks, at least.
    """

    def __init__(self, period: float = PERIOD) -> None:
        self._period, self._next = period, time.monotonic() + period

    def look(self) -> None:
        """Calls `release_leaks` if the period has passed."""
        if (begun := time.monotonic()) >= self._next:
            release_leaks()
            now = time.monotonic()
            self._next = now + max(self._period, (now - begun) / SHARE)


def release_leaks() -> dict[str, float]:
    """Makes every node of the Ray in use release what it holds for groups that were never created.

    Nothing else is affected: such a group has no process. A node that does not answer is left to the checks of nodes.

    Returns:
        What the nodes have more of afterwards, such as {"CPU": 1.0}: cores, and GPUs or shares of them.
    """
    import ray
    from ray.util.placement_group import placement_group_table

    groups = [group for group in placement_group_table().values() if _never_made(group)]
    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    total: dict[str, float] = {}
    for place in sorted({place for group in groups for place in _nodes_of(group)} & alive.keys()):
        try:
            back = _release_on(alive[place], place, groups)
        except ClusterError as problem:
            logger.warning("%s It may hold something of %d placement groups that are gone.", problem, len(groups))
            continue
        for name, amount in back.items():
            total[name] = total.get(name, 0.0) + amount
        if back:
            released = ", ".join(f"{amount:g} {name}" for name, amount in back.items())
            where = alive[place]["NodeManagerAddress"]
            logger.warning("%s has released %s that Ray held for nobody", where, released)
    return total


def _never_made(group: Mapping[str, Any]) -> bool:
    return group["state"] == "REMOVED" and not group["stats"]["end_to_end_creation_latency_ms"]


def _nodes_of(group: Mapping[str, Any]) -> Iterable[str]:
    """Returns the nodes on which the group's bundles were reserved."""
    return (place for place in group["bundles_to_node_id"].values() if place)


def _release_on(node: Mapping[str, Any], place: str, groups: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    with raylet_of(node) as raylet:
        before = raylet.free()
        for group in groups:
            here = {
                int(index): group["bundles"][index] for index, at in group["bundles_to_node_id"].items() if at == place
            }
            if here:
                raylet.give_up(group["placement_group_id"], here)
        after = raylet.free()
    return {name: more for name in LISTED if (more := after.get(name, 0.0) - before.get(name, 0.0)) > 0}
