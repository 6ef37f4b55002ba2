"""Heartbeats of a process that computes a trial, from which the driver recognises one that hangs.

The training thread only increments a counter: for each optimizer step, each batch of an evaluation, each load or save
that ends, each report. A thread of its own reads the counter and sends beats with the time since it last changed. A
process that was stopped sends no beats. One that sleeps or waits for ever sends beats whose `quiet` time grows.
Between two tasks (`active`) a process has nothing to do, and its time does not count as quiet.
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

LONGEST_PERIOD = 10.0  # seconds between two beats at most
POLL = 1.0  # seconds between two reads of the counter at most

logger = logging.getLogger(__name__)


class Beat(NamedTuple):
    """One heartbeat of a process."""

    number: int  # counts the beats of this process, from 1
    node: str  # Ray's id of its node
    process: int  # its pid
    quiet: float  # seconds without progress while it was active
    begun: bool  # the trial has made a step in this process: slow one-off work (loading, compiling) is over
    epoch: float  # of the last report
    steps: int  # optimizer steps and evaluation batches since then


@dataclass(frozen=True)
class Heartbeat:
    """Settings for the heartbeats of a trial's processes; picklable.

    Args:
        seconds: time without progress after which a process counts as hung.
        send: delivers (actor id, rank, beat) to the driver from any node; the actor is the trial's own.
    """

    seconds: float
    send: Callable[[str, int, Beat], None]

    @property
    def period(self) -> float:
        """Seconds between two beats."""
        return min(self.seconds / 4, LONGEST_PERIOD)


class ProgressTracker:
    """Counts the progress of this process. The training thread writes it, the heartbeat thread reads it."""

    def __init__(self) -> None:
        self.count = self.steps = 0
        self.epoch = 0.0
        self.begun = self.busy = False
        self._beating = False

    def begin(self) -> None:
        """Called when a trial begins in this process, or continues from a checkpoint."""
        self.count += 1
        self.steps, self.epoch, self.begun = 0, 0.0, False

    def report(self, epoch: float) -> None:
        """Called when an evaluation is complete, at this epoch."""
        self.count += 1
        self.steps, self.epoch, self.begun = 0, epoch, True

    def start_heartbeat(self, heartbeat: Heartbeat, actor: str, rank: int = 0) -> None:
        """Sends beats from a thread until the process ends; a second call does nothing.

        Args:
            heartbeat: how often, and where to.
            actor: Ray's id of the trial's own actor.
            rank: of this process among those of the trial; the actor itself is 0.
        """
        if self._beating:
            return
        self._beating = True
        threading.Thread(target=self._send_beats, args=(heartbeat, actor, rank), name="heartbeat", daemon=True).start()

    def _send_beats(self, heartbeat: Heartbeat, actor: str, rank: int) -> None:
        node, poll = _node(), min(heartbeat.period, POLL)
        number, quiet, seen = 0, 0.0, -1
        polled, sent = time.monotonic(), float("-inf")
        while True:
            now, count = time.monotonic(), self.count
            # A process that was stopped (SIGSTOP) and continues must not count as quiet for that time.
            quiet = 0.0 if count != seen or not self.busy else quiet + min(now - polled, 2 * poll)
            polled, seen = now, count
            if now - sent >= heartbeat.period - poll / 2:
                number, sent = number + 1, now
                beat = Beat(number, node, os.getpid(), quiet, self.begun, self.epoch, self.steps)
                try:
                    heartbeat.send(actor, rank, beat)
                except Exception as error:  # such as a head that restarts; the next beat tries again
                    logger.warning("a heartbeat could not be sent: %s", error)
            time.sleep(poll)


tracker = ProgressTracker()  # of this process


def step_done() -> None:
    """Records one optimizer step, or one batch of an evaluation.

    Call it in trainables of your own if `cluster.heartbeat_seconds` is set, as often as you like.
    """
    tracker.count += 1
    tracker.steps += 1
    tracker.begun = True


def mark_progress() -> None:
    """Records that a long piece of other work is done: the data are prepared, the model is loaded."""
    tracker.count += 1


@contextlib.contextmanager
def active() -> Iterator[None]:
    """In the block the process has work to do, and progress is expected of it."""
    yield from _set_busy(busy=True)


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """In the block, inside one of `active`, the process waits for others: no progress is expected of it."""
    yield from _set_busy(busy=False)


def _set_busy(*, busy: bool) -> Iterator[None]:
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
