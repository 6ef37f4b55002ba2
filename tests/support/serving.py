"""Servers of this process, which stand in for those of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import TypeVar

Server = TypeVar("Server", bound=BaseServer)
POLL = 0.01  # seconds after which a server sees that it is to end


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serves `server` in a thread in the block, and closes it at the end."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
