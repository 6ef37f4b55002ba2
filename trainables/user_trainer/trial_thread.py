"""One thread that computes everything of one trial, by calls that it answers one after the other.

A call may pause in the middle: its caller gets an answer, other calls are served, and `go_on` continues it where it
stood. So a `train()` that knows nothing of pauses can be left at an evaluation and taken up again. What belongs to a
thread (the current device, autocast) is the same in all that a trial does. Two never run at once: the caller waits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple


class Unwound(BaseException):
    """Raised in a paused call that is never continued: leaves it through its `finally` blocks."""


class _Raised(NamedTuple):
    error: BaseException


class TrialThread:
    """Starts at the first call. `end` must be called for it to end before its process does."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()  # None: end
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ending = False

    def call(self, work: Callable[[], Any]) -> Any:
        """Have the thread do `work`, and wait for what it returns, or pauses with.

        Raises:
            BaseException: what `work` raised, itself, with its traceback.
        """
        if self._thread.ident is None:
            self._thread.start()
        if self._ending:
            raise RuntimeError("an earlier call was interrupted: what it computed is lost")
        self._calls.put(work)
        try:
            answer = self._answers.get()
        except BaseException:  # a signal, in the thread that waits: the answer may still come, and would be another's
            self._ending = True
            raise
        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    def go_on(self) -> Any:
        """Continue the call that is paused, and wait for what it returns, or pauses with next."""
        return self.call(_go_on)

    def end(self) -> None:
        """Unwind the call that is paused, or that is left in the middle, and wait until the thread has ended."""
        self._ending = True
        self._calls.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    # On the thread itself

    def pause(self, answer: Any) -> None:
        """Give `answer` to whoever waits, and serve other calls until the paused one is to go on.

        Raises:
            Unwound: it never will.
        """
        self._answers.put(answer)
        del answer
        while (work := self._next()) is not _go_on:
            answer = _outcome(work)
            del work  # before the answer: whoever gets it may be about to let go of what `work` holds
            self._answers.put(answer)
            del answer

    def check(self) -> None:
        """To be called now and then in long calls.

        Raises:
            Unwound: nobody waits for the call any more.
        """
        if self._ending:
            raise Unwound

    def _next(self) -> Callable[[], Any]:
        if (work := self._calls.get()) is None:
            raise Unwound
        return work

    def _run(self) -> None:
        with contextlib.suppress(Unwound):
            while True:
                work = self._next()
                answer = _outcome(work)
                del work
                self._answers.put(answer)
                del answer


def _go_on() -> None:
    """Stands for the call that is paused."""
    raise RuntimeError("no call is paused")


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Unwound:
        raise
    except BaseException as error:
        return _Raised(error)
