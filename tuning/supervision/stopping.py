"""Stopping from outside: SIGTERM (a batch system, `kill`) and SIGHUP (the terminal was closed) do what Ctrl-C does, and
nobody's handler stays behind. Under `nohup` a SIGHUP stays ignored.

Tune ends gracefully on SIGINT and saves nothing on SIGTERM; its handler takes itself out when it is called, and stays
installed when it is not, so that the next Ctrl-C, whoever it is meant for, would be swallowed.
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
    """In the block SIGTERM and SIGHUP are handled as Ctrl-C is at that moment; at its end all handlers are as before.

    Only the main thread may set handlers: in another one, signals are the business of who started it.
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
    """Call `tune`, which calls `tune.run`; whether it ended because it was told to stop.

    Raises:
        KeyboardInterrupt: told a second time, while Tune was saving.
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
