"""Follows the cluster while studies run: how many trials may run at a time, and which slots each study is charged for.

The studies of a run are charged for the slots that the run holds or could hold, not for those that other jobs of a
shared cluster hold. These are known from what is free and what the run's own processes hold, also those that are still
to start: that takes seconds, in which their slots are nobody else's. A slot that changes hands is for a moment neither,
so one is taken for another job's only if two checks in a row find it so; what others hold when the run begins is found
by the first check. On a cluster without other jobs all slots are charged, idle or busy, each to one study: to the one
whose process holds it, or waits for it to start, else to the first to have begun that may use it: the slot waits for
that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from cluster.ray_compat.leaks import LeakCheck
from trainables.machine import clock

if TYPE_CHECKING:
    from cluster.session import Session
    from tuning.tune_compat.slot_pool import SlotPool

FOLLOW = 5.0  # seconds between two checks of the cluster
FIRST = 1.0  # seconds from the start of a run to the first one


class UsedSlots(NamedTuple):
    """The slots of one study at this moment."""

    held: int  # by its processes
    awaited: int  # by its trials that have no process yet
    most: int  # slots that it may hold


class SharedSlots:
    """Knows the slots of one run; a local Ray's do not change.

    Args:
        session: of the run.
        pool: of its processes.

    Attributes:
        limit: trials that may run at a time.
    """

    def __init__(self, session: Session, pool: SlotPool) -> None:
        self._session, self._pool = session, pool
        self.limit, self._total = session.limit, session.slots
        self._leaks = LeakCheck()
        self._followed, self._held = clock.monotonic() - FOLLOW + FIRST, 0
        self._before = 0  # slots within reach at the check before; the first check decides alone

    def follow(self) -> None:
        """Checks the cluster if it is time to: after a second, and then every five.

        Now and then `LeakCheck` looks for leaks on the nodes: Tune drops placement groups while they are made.
        """
        held = self._pool.slots_held
        self._held = max(self._held, held)
        if clock.monotonic() - self._followed < FOLLOW:
            return
        self._followed = clock.monotonic()
        most, self._held = self._held, held
        self._leaks.look()
        if self._session.address is None:
            return
        now = self._session.refreshed()
        if most < now.slots:
            most = max(most, held + self._pool.slots_reserved())
        before, self._before = self._before, now.slots_within_reach(most)
        self.limit, self._total = now.limit, min(now.slots, max(before, self._before))

    def divided(self, studies: Iterable[UsedSlots]) -> Iterator[int]:
        """Divides the slots of the run among its studies, given in the order in which they have begun; yields each
        one's number.
        """
        used = list(studies)
        free = max(0, self._total - sum(one.held for one in used))
        charged = []
        for one in used:
            starting = min(one.awaited, free)
            charged.append(one.held + starting)
            free -= starting
        for one, slots in zip(used, charged, strict=True):
            more = min(max(0, one.most - slots), free)
            free -= more
            yield slots + more
