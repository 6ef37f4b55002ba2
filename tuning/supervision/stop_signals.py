"""Stops a run from outside: SIGTERM (a batch system, `kill`) and SIGHUP (the terminal was closed) act as Ctrl-C does.

No handler stays behind. Under `nohup` a SIGHUP stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # by us or by Ray


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """A block in which SIGTERM and SIGHUP act as Ctrl-C does; at its end all handlers are as before.

    Only the main thread may set handlers. In another thread the block changes nothing.
    """
    if not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HANDLED}
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    if before[signal.SIGHUP] is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _as_ctrl_c)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A block in which the first of these signals is noted; a second one raises KeyboardInterrupt.

    Only the main thread may set handlers. In another thread nothing is noted.

    Returns:
        A function that is true once a signal has come.
    """
    came: list[int] = []
    with stoppable():
        if _in_main_thread():
            before = signal.getsignal(signal.SIGINT)

            def note(number: int, frame: FrameType | None) -> None:
                came.append(number)
                signal.signal(signal.SIGINT, before)

            signal.signal(signal.SIGINT, note)
            signal.signal(signal.SIGUSR1, note)
        yield lambda: bool(came)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # started in the background by a shell that lets such processes ignore Ctrl-C
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
