"""A thread that runs everything of one trial, and whose calls can pause in the middle.

When a call pauses, its caller gets an answer, other calls can run, and `go_on` continues the paused one. So `train()`,
which knows nothing of pauses, can be left at an evaluation and continued. Thread-local settings (current device,
autocast) are the same for everything that a trial does. Two calls never run at once: the caller waits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple


class Unwound(BaseException):
    """Raised in a paused call that will never be continued, so that its `finally` blocks run."""


class _Raised(NamedTuple):
    error: BaseException


class TrialThread:
    """A thread that starts at the first call, and ends with `end` or with the process."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()  # None: end
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ending = False

    def call(self, work: Callable[[], Any]) -> Any:
        """Runs `work` on the thread; returns its result, or what it pauses with.

        Raises:
            BaseException: what `work` raised, with its traceback.
            RuntimeError: an earlier call was interrupted by a signal.
        """
        if self._thread.ident is None:
            self._thread.start()
        if self._ending:
            raise RuntimeError("an earlier call was interrupted: what it computed is lost")
        self._calls.put(work)
        try:
            answer = self._answers.get()
        except BaseException:  # a signal in the waiting thread: a late answer would be taken for that of the next call
            self._ending = True
            raise
        if isinstance(answer, _Raised):
            raise answer.error
        return answer

    def go_on(self) -> Any:
        """Continues the paused call; returns its result, or what it pauses with next."""
        return self.call(_go_on)

    def end(self) -> None:
        """Unwinds a paused or interrupted call, and waits until the thread has ended."""
        self._ending = True
        self._calls.put(None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    # On the thread itself

    def pause(self, answer: Any) -> None:
        """Hands `answer` to the caller, and runs other calls until this one is continued.

        Raises:
            Unwound: it will never be continued.
        """
        self._answers.put(answer)
        del answer
        while (work := self._next()) is not _go_on:
            answer = _outcome(work)
            del work  # before the answer, whose receiver may be about to free what `work` refers to
            self._answers.put(answer)
            del answer

    def check(self) -> None:
        """Ends a long call whose caller has gone; to be called now and then.

        Raises:
            Unwound: nobody waits for the result any more.
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
    """A marker for the paused call."""
    raise RuntimeError("no call is paused")


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Unwound:
        raise
    except BaseException as error:
        return _Raised(error)
