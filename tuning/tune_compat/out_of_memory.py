"""The error of a trial whose process died for want of memory, with figures as evidence.

Ray's memory monitor reports what it has killed, and why. The kernel does not: there the evidence is the mark that the
process has left on its node (`trainables.machine.oom_probe`).
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
        report: Ray's whole message.
    """

    def __init__(self, actor_id: str, reason: str, report: str) -> None:
        super().__init__(actor_id, f"{reason}\n{report}")
        self.args = actor_id, reason, report  # for pickle
        self.reason = reason


def oom_from_monitor(actor_id: str, error: OutOfMemoryError) -> OutOfMemory:
    """The error of a process that Ray's memory monitor has killed."""
    return OutOfMemory(actor_id, describe_monitor_kill(actor_id, str(error)), str(error))


def oom_from_kernel(actor_id: str, address: str, death: OomEvidence, error: RayActorError) -> OutOfMemory:
    """The error of a process that its node's kernel has killed, by the evidence `death` from there."""
    return OutOfMemory(actor_id, death.describe(address), str(error))
