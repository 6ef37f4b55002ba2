"""A trial whose process died for want of memory: known by evidence, told in figures.

Ray's memory monitor says what it has killed, and why. The kernel does not: there it takes the mark that the process has
left on its node (`trainables.memory_mark`).
"""

from __future__ import annotations

import re

from ray.exceptions import OutOfMemoryError, RayActorError

from trainables.memory_mark import MemoryDeath

ADVICE = (
    "take smaller batches (per_device_train_batch_size) or a smaller model, fewer trials at a time "
    "(cluster.max_concurrent), or a machine with more memory"
)
GIB = 2**30


class OutOfMemory(RayActorError):  # type: ignore[misc]
    """The trial's process was killed for want of memory.

    Args:
        actor_id: Ray's id of the process.
        reason: who killed it, what it held and what there was, on one line.
        told: all that Ray says.
    """

    def __init__(self, actor_id: str, reason: str, told: str) -> None:
        super().__init__(actor_id, f"{reason}\n{told}")
        self.args = actor_id, reason, told  # for pickle
        self.reason = reason


def by_monitor(actor_id: str, error: OutOfMemoryError) -> OutOfMemory:
    """Killed by Ray's memory monitor. Its text runs to thousands of characters: of this process, and of all others."""
    text = str(error)
    own = re.search(rf"Actor\({actor_id}\).*?actual memory used=([\d.]+)GB", text)
    node = re.search(r"IP: ([^,]+),.*? was ([\d.]+)GB used / ([\d.]+)GB limit", text)
    held = f"it held {own[1]} GiB" if own else "what it held is not known"
    where = f"node {node[1]} used {node[2]} of {node[3]} GiB" if node else "its node was nearly full"
    return OutOfMemory(actor_id, f"Ray's memory monitor killed its process: {held}, and {where}", text)


def by_kernel(actor_id: str, address: str, death: MemoryDeath, error: RayActorError) -> OutOfMemory:
    """Killed by the kernel."""
    of = "its cgroup may have" if death.limited_by == "cgroup" else f"node {address} has"
    held = f"it held {death.held / GIB:.2f} GiB when last looked at, of {death.limit / GIB:.2f} GiB that {of}"
    return OutOfMemory(actor_id, f"the kernel killed its process: {held}", str(error))
