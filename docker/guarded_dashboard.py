"""Serves optuna-dashboard behind a password: by itself it requires none, and lets anybody delete studies.

    python guarded_dashboard.py STORE_URL PASSWORD_FILE [PORT]

The browser asks for a name, which may be anything, and for the password in the file.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

SHORTEST = 16  # letters of a password
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def guarded(app: App, password: str) -> App:
    """Returns `app` behind HTTP's basic authentication; requests without the password get a 401.

    Raises:
        ValueError: the password is too short.
    """
    if len(password) < SHORTEST:
        raise ValueError(f"the password must have {SHORTEST} letters or more: make one with openssl rand -hex 24")

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if hmac.compare_digest(_given(environment.get("HTTP_AUTHORIZATION", "")), password.encode()):
            return app(environment, start)
        start("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="optuna-dashboard", charset="UTF-8"')])
        return [b"the password is in docker/secrets/dashboard_password\n"]

    return answer


def _given(header: str) -> bytes:
    kind, _, encoded = header.partition(" ")
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2] if kind.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


class Server(ThreadingMixIn, WSGIServer):
    """Serves each connection in a thread."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Closes silent connections, and logs no line per request."""

    timeout = 60

    def log_message(self, format: str, *args: object) -> None:
        """Suppresses the log line that the standard library writes per request."""


def main(url: str, password_file: str, port: str = "8080") -> None:
    """Serves the study store at `url` on every interface of the container."""
    from optuna_dashboard import wsgi

    app = guarded(wsgi(url), Path(password_file).read_text(encoding="utf-8").strip())
    with make_server("0.0.0.0", int(port), app, server_class=Server, handler_class=Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
