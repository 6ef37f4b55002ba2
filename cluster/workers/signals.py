"""Keeps signals that are meant for the driver from its Ray.

A signal that is meant for a run often reaches all its processes: SIGHUP from a terminal that is closed, SIGTERM from
`timeout`, `kill %1`, a batch system or a service manager. The driver ends the run on it, and needs a Ray to do so. Ray
protects its servers from SIGINT alone. Its raylet and head end on SIGTERM at once; the driver then calls them in vain,
until Ray ends it after a minute, without a message.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def signals_blocked(*signals: signal.Signals) -> Iterator[None]:
    """Blocks these signals; processes that are started in the block never receive them, nor do their children."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
