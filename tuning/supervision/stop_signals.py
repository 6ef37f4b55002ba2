"""Stops a run from outside: SIGTERM (a batch system, `kill`) and SIGHUP (the terminal was closed) act as Ctrl-C does.

No handler stays behind. Under `nohup` a SIGHUP stays ignored. Tune ends gracefully on SIGINT and saves nothing on
SIGTERM. Its handler removes itself when it is called, and stays installed when it is not, so that the next Ctrl-C,
whoever it is meant for, would be swallowed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # by us, by Ray or by Tune


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


def stopped_during(tune: Callable[[], object]) -> bool:
    """Calls `tune`, which calls `tune.run`.

    Returns:
        True if a signal has ended it.

    Raises:
        KeyboardInterrupt: a second signal came while Tune was saving.
    """
    with stoppable():
        before = signal.getsignal(signal.SIGINT)
        tune()
        return _in_main_thread() and signal.getsignal(signal.SIGINT) == before


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # started in the background by a shell that lets such processes ignore Ctrl-C
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
