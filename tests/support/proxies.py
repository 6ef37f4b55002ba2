"""A stand-in proxy that records what it is shown, and variables that name it in every way that programs read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.serving import serving

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
DEAD = "http://127.0.0.1:9"  # nothing listens there


class Proxy(ThreadingHTTPServer):
    """Answers every request with `status`, for any host, and records it.

    Args:
        behind: the local port that CONNECT leads to, whatever host it names; None: it leads nowhere.
    """

    def __init__(self, status: int, behind: int | None = None) -> None:
        self.status, self.behind = status, behind
        self.seen: list[str] = []  # the requests' first lines and headers
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.seen.append(f"{self.requestline}\n{self.headers}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_DELETE = do_GET

    def do_CONNECT(self) -> None:
        if self.server.behind is None:
            self.do_GET()
            return
        self.server.seen.append(f"{self.requestline}\n{self.headers}")
        with socket.create_connection(("127.0.0.1", self.server.behind)) as inside:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self._pass_on, args=(inside, self.connection), daemon=True)
            back.start()
            self._pass_on(self.connection, inside)
            back.join()
        self.close_connection = True

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.server.seen.append(data.decode("latin-1"))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def log_message(self, *_: object) -> None:
        """Logs nothing on standard error."""


@contextmanager
def proxy_that_answers(status: int, behind: int | None = None) -> Iterator[Proxy]:
    """Runs a proxy in the block."""
    with serving(Proxy(status, behind)) as proxy:
        yield proxy


def name_proxy(patch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    """Makes `variable` the only one that names a proxy."""
    for name in VARIABLES:
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    patch.setenv(variable, url)
