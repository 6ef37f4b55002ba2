"""Diagnoses an actor that has ended without an error of its own code.

Its node is lost, its node's kernel has killed it for want of memory, or it has died by itself.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayError

from cluster.nodes.tasks import start_on_node
from trainables.machine import clock
from trainables.machine.oom_probe import read_oom_probe
from tuning.tune_compat.out_of_memory import OutOfMemory, oom_from_kernel
from tuning.tune_compat.processes import node_loss, node_of

LOOK = 1.0  # seconds between two queries about one process
UNCLEAR = 120.0  # seconds after which a process that cannot be reached counts as lost with its node
ASKING = 30.0  # seconds for a node to answer what its kernel has killed

logger = logging.getLogger(__name__)


class Diagnosis(NamedTuple):
    """The reason why an actor has ended."""

    address: str  # of its node
    node_lost: bool
    error: RayActorError  # one of memory where there is evidence


class ActorFailure:
    """One actor that has ended, queried until its diagnosis is known.

    The death of its node may be known only after seconds. A node that lives is queried for what the process has left
    there.

    Args:
        name: of what the actor computed, for messages.
        error: with which Ray has reported its end.
        killed: True if the driver has killed it. Unless its node is lost as well there is nothing to find out.
    """

    def __init__(self, name: str, error: RayActorError, *, killed: bool = False) -> None:
        self.error, self._name, self._killed = error, name, killed
        self._since = self._looked = clock.monotonic()
        self._address = ""
        self._mark: Any = None  # Ray's reference to what the process has left on its node; None: not queried yet
        self._asked = 0.0  # on the monotonic clock

    def diagnose(self) -> Diagnosis | None:
        """Returns why the actor has ended; None if that is not known yet, or was asked less than a second ago."""
        now = clock.monotonic()
        if now - self._looked < LOOK:
            return None
        self._looked = now
        if isinstance(self.error, OutOfMemory):  # the node has reported it
            return Diagnosis(self._address, False, self.error)
        if self._mark is not None:
            done = self._is_answered() or now - self._asked > ASKING
            return Diagnosis(self._address, False, self._with_mark()) if done else None
        self._address, lost = node_loss(self.error)
        if self.error.preempted or (lost is None and now - self._since >= UNCLEAR):
            lost = True
        if lost is None:
            return None
        if lost:
            return Diagnosis(self._address, True, self.error)
        if self._killed or (node := node_of(self.error)) is None:
            return Diagnosis(self._address, False, self.error)
        self._mark, self._asked = start_on_node(node, read_oom_probe, str(self.error.actor_id)), now
        return None

    def _is_answered(self) -> bool:
        """True if the node has answered."""
        return bool(ray.wait([self._mark], timeout=0)[0])

    def _with_mark(self) -> RayActorError:
        """The error, turned into `OutOfMemory` if the node has evidence for it."""
        if not self._is_answered():
            return self.error
        try:
            death = ray.get(self._mark)
        except RayError as error:
            logger.warning("%s: what its process has left cannot be read: %s", self._name, error)
            return self.error
        if death is None or not death.killed:
            return self.error
        return oom_from_kernel(str(self.error.actor_id), self._address, death, self.error)
