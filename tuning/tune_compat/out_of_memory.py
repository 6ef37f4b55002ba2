"""A trial whose process died for want of memory: known by evidence, told in figures.

Ray's memory monitor says what it has killed, and why. The kernel does not: there it takes the mark that the process has
left on its node (`trainables.machine.oom_probe`).
"""

from __future__ import annotations

from ray.exceptions import OutOfMemoryError, RayActorError

from trainables.machine.oom_probe import OomEvidence, describe_monitor_kill

ADVICE = (
    "take smaller batches (per_device_train_batch_size) or a smaller model, fewer trials at a time "
    "(cluster.max_concurrent), or a machine with more memory"
)


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
    """Killed by Ray's memory monitor."""
    return OutOfMemory(actor_id, describe_monitor_kill(actor_id, str(error)), str(error))


def by_kernel(actor_id: str, address: str, death: OomEvidence, error: RayActorError) -> OutOfMemory:
    """Killed by the kernel."""
    return OutOfMemory(actor_id, death.describe(address), str(error))
