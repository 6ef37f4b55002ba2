"""Runs several studies at the same time: while one leaves slots free, trials of the next ones use them.

In: studies in their order. Out: each one's end. A round lets every study start the trials that it has to start, the
first to have begun first, opens the next study if slots are still free, takes the snapshots that are due, waits for
events of any of them, and lets each decide on what has changed. With one study at a time that is Tune's own loop, but
for its snapshots: they are taken last, when all processes that can compute do. A slot whose trial only waits, such as a
member of a population for the others of its generation, is as good as free: that trial is paused for another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from trainables.machine import clock
from tuning.supervision.shared_slots import SharedSlots, UsedSlots
from tuning.supervision.stop_signals import stop_requests

if TYPE_CHECKING:
    from tuning.tune_compat.controller import Controller
    from tuning.tune_compat.slot_pool import SlotPool

EVENT_SECONDS = 0.1  # that a round waits for an event
IDLE_SECONDS = 0.05  # between two rounds in which there is nothing to wait for


class Work(Protocol):
    """A study, or the jobs after a search, while its trials run."""

    @property
    def controller(self) -> Controller:
        """Tune's controller of its trials."""

    @property
    def most_slots(self) -> int:
        """The number of slots that it may hold."""

    def limit(self, trials: int) -> None:
        """Called in each round with the number of trials that may run at a time."""

    @property
    def spare_slots(self) -> int:
        """The number of slots that it holds and does not use now, so that another study may have them."""

    def give_slot(self) -> bool:
        """Called when another study takes one of `spare_slots`; False if that has become impossible."""

    def charge(self, slots: int) -> None:
        """Called in each round with the number of slots that it holds, or that wait for it."""

    def finish(self) -> None:
        """Called when all trials have ended. What it raises ends the run."""


def run_rounds(
    open_next: Callable[[], Work | None], slots: SharedSlots, pool: SlotPool, *, overlap: bool = True
) -> None:
    """Run studies until each has finished, or a signal stops the run: those that run are then left as they are.

    Args:
        open_next: opens the next study; None: there is none.
        slots: of the run.
        pool: of its processes.
        overlap: False: a study is opened when the one before has finished.

    Raises:
        Exception: what ends the run, from any study; those that run are left as they are.
    """
    works = list[Work]()
    more = True
    with stop_requests() as stopped:
        while True:
            slots.follow()
            for work in works:
                _start(work, works, slots, pool)
            while more and (not works or (overlap and _Room(None, works, slots, pool).left > 0)):
                opened = open_next()
                more = opened is not None
                if opened is None:
                    break
                if opened.controller.is_finished():  # a resumed one, of which only the end was missing
                    opened.finish()
                else:
                    works.append(opened)
                    _start(opened, works, slots, pool)
            if not works:
                return
            pool.keeps = more or any(work.controller.may_start_more for work in works)
            if not pool.keeps:
                pool.stop_idle()
            _charge(works, slots)
            for work in works:
                work.controller.checkpoint()  # while processes compute: no slot waits for it
            _wait(works, pool)
            for work in works:
                work.controller.end_step()
            for work in [work for work in works if work.controller.is_finished()]:
                works.remove(work)
                work.finish()
            if stopped():
                return


class _Room:
    """The slots into which a study may start trials: free ones, and those that others hold and do not use.

    Args:
        work: the study; None: one that is not open yet.
        works: all that run, the first to have begun first.
        slots: of the run.
        pool: of its processes.
    """

    def __init__(self, work: Work | None, works: list[Work], slots: SharedSlots, pool: SlotPool) -> None:
        self._work, self._slots, self._pool = work, slots, pool
        self._others = [other for other in works if other is not work]

    @property
    def own(self) -> int:
        """The number of slots that the study has, or waits for."""
        return 0 if self._work is None else self._work.controller.slots_held + self._work.controller.slots_awaited

    @property
    def left(self) -> int:
        """See `tuning.tune_compat.controller.Room`."""
        left = self._pool.room(self._slots.limit) + sum(other.spare_slots for other in self._others)
        return left if self._work is None else min(left, self._work.most_slots - self.own)

    def take(self) -> bool:
        """See `tuning.tune_compat.controller.Room`. Without a free slot the last to have begun gives one."""
        while self.left > 0:
            if self._pool.room(self._slots.limit) > 0:
                return True
            next(other for other in reversed(self._others) if other.spare_slots > 0).give_slot()
        return False


def _start(work: Work, works: list[Work], slots: SharedSlots, pool: SlotPool) -> None:
    """Let a study start trials, at most as many as it may hold."""
    room = _Room(work, works, slots, pool)
    work.controller.begin_step()
    work.limit(max(room.own + max(0, room.left), 1))
    work.controller.start_trials(room)


def _charge(works: list[Work], slots: SharedSlots) -> None:
    used = (UsedSlots(work.controller.slots_held, work.controller.slots_awaited, work.most_slots) for work in works)
    for work, charged in zip(works, slots.divided(used), strict=True):
        work.charge(charged)


def _wait(works: list[Work], pool: SlotPool) -> None:
    """Wait for an event, and handle those that have come with it, one per process at most."""
    if pool.next(timeout=EVENT_SECONDS):
        for _ in range(pool.num_live_actors):
            if not pool.next(timeout=0):
                break
        return
    if not pool.num_live_actors:
        works[0].controller.warn_of_waiting()
    if not pool.num_total_actors:
        clock.sleep(IDLE_SECONDS)
