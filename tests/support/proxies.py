"""A stand-in proxy that records what it is shown, and variables that name it in every way that programs read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.serving import serving

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
DEAD = "http://127.0.0.1:9"  # nothing listens there


class Proxy(ThreadingHTTPServer):
    """Answers every request with `status`, whatever host is asked for, and keeps what it saw."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.seen: list[str] = []  # the requests' first lines and headers
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.seen.append(f"{self.requestline}\n{self.headers}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_DELETE = do_CONNECT = do_GET

    def log_message(self, *_: object) -> None:
        """No lines on standard error."""


@contextmanager
def proxy_that_answers(status: int) -> Iterator[Proxy]:
    """In the block it listens."""
    with serving(Proxy(status)) as proxy:
        yield proxy


def name_proxy(patch: pytest.MonkeyPatch, variable: str, url: str) -> None:
    """`variable` alone names a proxy."""
    for name in VARIABLES:
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    patch.setenv(variable, url)
