"""Virtual time: a clock that jumps from one event to the next, so that hours pass in a moment.

Events of the same moment happen in the order in which they were requested, so a simulation repeats exactly. It does not
where the driver's own time counts, which differs from run to run.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

EPOCH = 1_700_000_000.0  # seconds since 1970 at which each simulation begins
BEGINNING = 1000.0  # on the monotonic clock


class VirtualTime:
    """The clock and the events of a simulation. It is a `trainables.machine.clock.Clock`.

    Args:
        passed: seconds between the first simulation of a test and this one, which resumes it.

    Attributes:
        driver_seconds: CPU seconds of the driver's main thread, without those of the simulation; 0 unless they count.
    """

    def __init__(self, passed: float) -> None:
        self.driver_seconds = 0.0
        self._driver = threading.get_ident()
        self._since: float | None = None  # CPU seconds of the driver when it left the simulation, if they count
        self._now, self._ahead = BEGINNING, 0.0  # `_ahead`: seconds of the call that is computed now
        self._passed = passed
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._requested: list[float] = []  # seconds of the events from `at` that have not happened
        self._suspended_at = self._resumed_at = float("-inf")  # on the monotonic clock

    def monotonic(self) -> float:
        """See `trainables.machine.clock.Clock`."""
        return self._now + self._ahead + self._since_left()

    def time(self) -> float:
        """See `trainables.machine.clock.Clock`."""
        return EPOCH + self._passed + self.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `trainables.machine.clock.Clock`. Events happen meanwhile."""
        self._advance(self._now + seconds, lambda: False)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return self.monotonic() - BEGINNING

    def count_driver_time(self) -> None:
        """Lets time pass while the driver's main thread computes, from now on, as it does without a simulation."""
        self._since = time.thread_time()

    @contextlib.contextmanager
    def simulating(self) -> Iterator[None]:
        """Begins a block in which the simulation computes: no time passes by it."""
        if self._since is None or threading.get_ident() != self._driver:
            yield
            return
        driven = self._since_left()
        self.driver_seconds, self._now, self._since = self.driver_seconds + driven, self._now + driven, None
        try:
            yield
        finally:
            self._since = time.thread_time()

    def _since_left(self) -> float:
        """Returns the CPU seconds of the driver since it left the simulation."""
        if self._since is None or threading.get_ident() != self._driver:
            return 0.0
        return time.thread_time() - self._since

    def at(self, seconds: float, callback: Callable[[], None]) -> None:
        """Calls `callback` at that time, in seconds since the beginning, which must come before the simulation ends."""
        self._requested.append(seconds)

        def happen() -> None:
            self._requested.remove(seconds)
            callback()

        self._schedule(BEGINNING + seconds, happen)

    def suspend(self, seconds: float) -> None:
        """Suspends the driver and all processes for `seconds`, as on a laptop whose lid is closed."""
        self._suspended_at, self._now = self._now, self._now + seconds
        self._resumed_at = self._now
        self._queue = [(when + seconds, order, callback) for when, order, callback in self._queue]

    def last_heartbeat(self, period: float) -> float:
        """Returns the time on the monotonic clock at which processes have sent their last heartbeats.

        Processes that were suspended sent it before, until `period` seconds have passed again.
        """
        now = self.monotonic()
        return self._suspended_at if now - self._resumed_at < period else now

    def require_requested(self) -> None:
        """Checks, at the end of the simulation, that all requested events have happened.

        Raises:
            AssertionError: one of them has not.
        """
        if self._requested:
            first = min(self._requested)
            raise AssertionError(f"the simulation ended after {self.seconds:g} s, before {first:g} s came")

    def _schedule(self, when: float, callback: Callable[[], None]) -> None:
        """Calls `callback` at that time on the monotonic clock, or as the next event if that is over."""
        heapq.heappush(self._queue, (max(when, self._now), next(self._order), callback))

    def _advance(self, until: float | None, enough: Callable[[], bool]) -> None:
        """Processes events in order until `enough()` is true, or the time is `until`.

        Raises:
            RuntimeError: no event is left, and there is no `until`.
        """
        while not enough():
            if not self._queue or (until is not None and self._queue[0][0] > until):
                if until is None:
                    raise RuntimeError("the simulation waits for what can never come")
                self._now = max(self._now, until)
                return
            when, _, callback = heapq.heappop(self._queue)
            self._now = max(self._now, when)
            callback()


def simulated(method: Callable[P, R]) -> Callable[P, R]:
    """Makes a method of a simulation take no time when the driver calls it; see `VirtualTime.simulating`."""

    @functools.wraps(method)
    def called(*arguments: P.args, **options: P.kwargs) -> R:
        simulation: Any = arguments[0]
        with simulation.simulating():
            return method(*arguments, **options)

    return called
