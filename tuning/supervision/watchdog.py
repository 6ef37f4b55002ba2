"""Finds trials whose process is stopped, or sleeps for ever, by their heartbeats or by their silence.

The watchdog counts by a clock of its own, which runs only while the driver does: a laptop that was asleep, or processes
of a job that were stopped together, raise no false alarm.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ray.exceptions import RayActorError

from trainables.progress import LONGEST_PERIOD, Beat, Heartbeat
from trainables.spec import TRAININGS
from tuning.spec.models import ExperimentSpec
from tuning.tune_compat.heartbeats import send_beat

AUTO = 600.0  # seconds; a step of a fine-tuning that takes longer is not sensible, a user's function may take any time
UNSEEN = 2  # beats that a process may have sent since the last one that the driver has read
STARTING = (
    10  # times as long before the first step, and AUTO at least: imports, a first CUDA context, compilation, a download
)
SILENT = 60.0  # seconds, or as long, without any beat while it starts: a process that works at it sends beats


class NoProgress(RayActorError):  # type: ignore[misc]
    """The process of a trial was killed because it made no progress. Tune handles it as any end of an actor."""


class HungActor(NamedTuple):
    """A trial's actor that makes no progress."""

    actor: str  # Ray's id
    seconds: float  # without progress
    beat: Beat | None  # the last of the process that hangs; None: it has sent none
    begun: bool = False  # its trial has made a step in it
    on_driver_node: bool = False  # its processes are there; that node is not lost

    def describe(self, reported: float = 0.0) -> str:
        """One line for messages.

        Args:
            reported: the trial's last epoch, which no beat of a process that was stopped just then has.
        """
        stalled = f"no progress for {self.seconds:.0f} s"
        if not self.begun:
            since = "since its process was started" if self.beat is None else "before its first step"
            return f"{stalled} {since} (process stopped or hung)"
        newer = self.beat is not None and self.beat.epoch >= reported
        epoch, steps = (self.beat.epoch, self.beat.steps) if self.beat is not None and newer else (reported, 0)
        return f"{stalled} in epoch {int(epoch) + 1}, step {steps} (process stopped or hung)"


class _Process:
    """The last heartbeat and the progress of one process of a trial."""

    def __init__(self) -> None:
        self.beat: Beat | None = None
        self.quiet = 0.0  # seconds without progress
        self.silent = 0.0  # seconds since the beat


class Watchdog:
    """Watches the actors that trials have at the moment.

    Args:
        seconds: how long a process may go without progress once its trial has made a step.

    Attributes:
        period: seconds between two calls of `find_hung`.
        seen: all actors that it has ever watched.
    """

    def __init__(self, seconds: float) -> None:
        self.period = min(seconds / 4, LONGEST_PERIOD / 2)  # no longer than that of the beats, for `UNSEEN`
        self._seconds, self._starting, self._silent = seconds, max(STARTING * seconds, AUTO), max(seconds, SILENT)
        self.seen: set[str] = set()
        self._known: dict[str, dict[int, _Process]] = {}  # by actor and rank
        self._reported: dict[str, int] = {}  # by actor: the beat's number that was known when its trial reported last
        self._looked: float | None = None

    def record_report(self, actor: str) -> None:
        """Call this when the trial of `actor` has reported.

        So it has made a step, though the last beat may not know it, and a process that is stopped then sends no other.
        """
        first = self._known.get(actor, {}).get(0)
        self._reported[actor] = first.beat.number if first is not None and first.beat is not None else 0

    def due(self, now: float) -> bool:
        """True if `find_hung` should be called; `now` on the monotonic clock, in seconds."""
        return self._looked is None or now - self._looked >= self.period

    def find_hung(self, now: float, beats: Mapping[str, Mapping[int, Beat]]) -> list[HungActor]:
        """The actors that hang.

        Args:
            now: on the monotonic clock, in seconds.
            beats: the newest ones of all actors that trials have, by actor and rank.
        """
        passed = 0.0 if self._looked is None else min(now - self._looked, 2 * self.period)
        self._looked = now
        self.seen |= beats.keys()
        self._known = {actor: self._known.get(actor, {0: _Process()}) for actor in beats}
        found = []
        for actor, by_rank in beats.items():
            processes = self._known[actor]
            for rank, beat in by_rank.items():
                process = processes.setdefault(rank, _Process())
                if process.beat is None or beat.number != process.beat.number:
                    process.beat, process.quiet, process.silent = beat, beat.quiet - passed, -passed
            for process in processes.values():
                process.quiet += passed
                process.silent += passed
            hung = [process for process in processes.values() if self._hangs(actor, process)]
            if hung:
                worst = max(hung, key=lambda one: one.quiet)
                found.append(HungActor(actor, worst.quiet, worst.beat, self._has_begun(actor, worst)))
        return found

    def _hangs(self, actor: str, process: _Process) -> bool:
        if self._has_begun(actor, process):
            return process.quiet >= self._seconds
        stopped = process.beat is not None and process.silent >= self._silent
        return stopped or process.quiet >= self._starting

    def _has_begun(self, actor: str, process: _Process) -> bool:
        reported = self._reported.get(actor)
        if process.beat is None:
            return reported is not None
        return process.beat.begun or (reported is not None and process.beat.number <= reported + UNSEEN)


def heartbeat_of(spec: ExperimentSpec) -> Heartbeat | None:
    """The heartbeat that the processes of the spec's trials send; None if they are not watched."""
    seconds = spec.cluster.heartbeat_seconds
    if seconds == "auto":
        seconds = AUTO if spec.trainable in TRAININGS else None
    return None if seconds is None else Heartbeat(seconds, send_beat)


def all_on_this_node(beats: Sequence[Beat]) -> bool:
    """True if `beats` is non-empty and all of them come from this node."""
    import ray

    here = str(ray.get_runtime_context().get_node_id())
    return bool(beats) and all(beat.node == here for beat in beats)


def kill_processes(beats: Sequence[Beat]) -> bool:
    """Kill the processes that have sent `beats`, at once: Ray would first let them end, and wait for five seconds.

    Returns:
        False if there are none.
    """
    import ray

    from cluster.nodes.tasks import start_on_node

    here = str(ray.get_runtime_context().get_node_id())
    for beat in beats:
        if beat.node == here:
            kill_process(beat.process)
        else:
            start_on_node(beat.node, kill_process, beat.process)
    return bool(beats)


def kill_process(process: int) -> None:
    """Kill a process of this node; one that has ended is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
