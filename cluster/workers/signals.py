"""A signal that is meant for a run often reaches every process of it: SIGHUP from a terminal that is closed, SIGTERM
from `timeout`, `kill %1`, a batch system or a service manager. The driver ends the run by it, and must still have a Ray
to do so.

Ray does this with SIGINT alone. Its raylet and its head end by a SIGTERM at once; the driver then asks them in vain,
until after a minute Ray ends it without a word.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def signals_blocked(*signals: signal.Signals) -> Iterator[None]:
    """In the block these signals wait; processes that are started in it never get one, nor do those that they start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
