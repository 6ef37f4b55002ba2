"""Signs of life of a process that computes a trial: what it tells, and how often, so that one that hangs is found.

Progress is an optimizer step, a batch of an evaluation, a load or a save that has ended, a report; between two tasks
there is nothing to do, and being able to say so is progress. Who computes only counts. A thread of its own looks at the
count, adds up for how long it has stood still, and tells it: a process that was stopped tells nothing, one that sleeps
or waits for ever tells that it stands still.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

LONGEST = 10.0  # seconds between two beats at most
LOOK = 1.0  # seconds between two looks at the count at most

logger = logging.getLogger(__name__)


class Beat(NamedTuple):
    """What a process tells of itself."""

    number: int  # of its beats so far
    node: str  # Ray's id of its node
    process: int
    quiet: float  # seconds without progress
    begun: bool  # the trial has made a step in this process: what takes long only once is behind it
    epoch: float  # reported last
    steps: int  # optimizer steps and batches of evaluations since then


@dataclass(frozen=True)
class Heartbeat:
    """What every process of a trial needs to know. Pickles.

    Args:
        seconds: without progress after which a process counts as hung.
        send: delivers (actor, rank, beat) to the driver, from any node; actor: Ray's id of the trial's own actor.
    """

    seconds: float
    send: Callable[[str, int, Beat], None]

    @property
    def period(self) -> float:
        """Seconds between two beats."""
        return min(self.seconds / 4, LONGEST)


class ProgressTracker:
    """Of one process. Written by whoever computes, read by the thread that tells."""

    def __init__(self) -> None:
        self.count = self.steps = 0
        self.epoch = 0.0
        self.begun = self.busy = False
        self._beating = False

    def begin(self) -> None:
        """Another trial, or the same one from a checkpoint."""
        self.count += 1
        self.steps, self.epoch, self.begun = 0, 0.0, False

    def report(self, epoch: float) -> None:
        """An evaluation is complete."""
        self.count += 1
        self.steps, self.epoch, self.begun = 0, epoch, True

    def beat(self, heartbeat: Heartbeat, actor: str, rank: int = 0) -> None:
        """From now on, until the process ends, its beats are told. Told again: nothing."""
        if self._beating:
            return
        self._beating = True
        threading.Thread(target=self._tell, args=(heartbeat, actor, rank), name="heartbeat", daemon=True).start()

    def _tell(self, heartbeat: Heartbeat, actor: str, rank: int) -> None:
        node, look = _node(), min(heartbeat.period, LOOK)
        number, quiet, seen = 0, 0.0, -1
        looked, told = time.monotonic(), float("-inf")
        while True:
            now, count = time.monotonic(), self.count
            # A process that was stopped and goes on has not stood still by itself: of one look counts two at most.
            quiet = 0.0 if count != seen or not self.busy else quiet + min(now - looked, 2 * look)
            looked, seen = now, count
            if now - told >= heartbeat.period - look / 2:
                number, told = number + 1, now
                beat = Beat(number, node, os.getpid(), quiet, self.begun, self.epoch, self.steps)
                try:
                    heartbeat.send(actor, rank, beat)
                except Exception as error:  # the head is being restarted, say; the next beat tries again
                    logger.warning("a heartbeat could not be sent: %s", error)
            time.sleep(look)


tracker = ProgressTracker()  # of this process


def step_done() -> None:
    """One more optimizer step, or batch of an evaluation.

    For trainables of your own under `cluster.heartbeat_seconds`: call it as often as you like.
    """
    tracker.count += 1
    tracker.steps += 1
    tracker.begun = True


def mark_progress() -> None:
    """Something else is finished that takes long: the data are prepared, the model is loaded."""
    tracker.count += 1


@contextlib.contextmanager
def active() -> Iterator[None]:
    """In the block there is something to do, and progress is expected."""
    yield from _being(busy=True)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """In the block, which lies in one that works, others have to do something first."""
    yield from _being(busy=False)


def _being(*, busy: bool) -> Iterator[None]:
    before, tracker.busy = tracker.busy, busy
    tracker.count += 1
    try:
        yield
    finally:
        tracker.count += 1
        tracker.busy = before


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
