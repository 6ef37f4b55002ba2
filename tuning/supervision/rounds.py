"""Runs several studies at the same time: while one leaves slots free, trials of the next ones use them.

In: studies in their order. Out: each one's end. A round lets every study start the trials that it has to start, the
first to have begun first, opens the next study if slots are still free, waits for one event of any of them, and lets
each decide on what has changed. With one study at a time that is Tune's own loop.
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
                _start(work, slots, pool)
            while more and (not works or (overlap and pool.room(slots.limit) > 0)):
                opened = open_next()
                more = opened is not None
                if opened is None:
                    break
                if opened.controller.is_finished():  # a resumed one, of which only the end was missing
                    opened.finish()
                else:
                    works.append(opened)
                    _start(opened, slots, pool)
            if not works:
                return
            pool.keeps = more or any(work.controller.may_start_more for work in works)
            if not pool.keeps:
                pool.stop_idle()
            _charge(works, slots)
            _wait(works, pool)
            for work in works:
                work.controller.end_step()
            for work in [work for work in works if work.controller.is_finished()]:
                works.remove(work)
                work.finish()
            if stopped():
                return


def _start(work: Work, slots: SharedSlots, pool: SlotPool) -> None:
    """Let a study start trials in the slots that are free, at most as many as it may hold."""
    controller = work.controller

    def own() -> int:
        return controller.slots_held + controller.slots_awaited

    def room() -> int:
        return min(pool.room(slots.limit), work.most_slots - own())

    controller.begin_step()
    work.limit(max(own() + max(0, room()), 1))
    controller.start_trials(room)


def _charge(works: list[Work], slots: SharedSlots) -> None:
    used = (UsedSlots(work.controller.slots_held, work.controller.slots_awaited, work.most_slots) for work in works)
    for work, charged in zip(works, slots.divided(used), strict=True):
        work.charge(charged)


def _wait(works: list[Work], pool: SlotPool) -> None:
    if pool.next(timeout=EVENT_SECONDS):
        return
    if not pool.num_live_actors:
        works[0].controller.warn_of_waiting()
    if not pool.num_total_actors:
        clock.sleep(IDLE_SECONDS)
