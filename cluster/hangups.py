"""A terminal that is closed sends SIGHUP to every process that was started from it: the driver ends its run by it, and
must still have a Ray to do so."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def hangups_held() -> Iterator[None]:
    """In the block SIGHUP waits; processes that are started in it never get one. They end with the driver.

    As Ray itself does with SIGINT.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
