"""The page while a run goes on: served on loopback, made again from the store when somebody asks, not more often than
every few seconds.

Any account of the machine can connect to loopback, so the address holds a key, which only the terminal shows.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from tuning.report.page.document import PageContent, render_page

LOOPBACK = "127.0.0.1"
REMADE_EVERY = 4.0  # seconds, at most
REST = 4.0  # times as long as the last making took: the run beside it needs the machine more
SILENCE = 30.0  # seconds after which a connection that says nothing is closed
POLICY = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class CachedContent:
    """The content, made when it is asked for and the last one is due for renewal."""

    def __init__(self, make: Callable[[], PageContent]) -> None:
        self._make, self._lock = make, Lock()
        self._content: PageContent | None = None
        self._due = 0.0

    def get(self) -> PageContent:
        """The content of now. One thread makes it, the others wait for it.

        Raises:
            Exception: whatever making it raises.
        """
        with self._lock:
            begin = time.monotonic()
            if self._content is None or begin >= self._due:
                self._content = self._make()
                end = time.monotonic()
                self._due = end + max(REMADE_EVERY, REST * (end - begin))
            return self._content


class PageServer(ThreadingHTTPServer):
    """Answers `/KEY/` with the page and `/KEY/content` with what is new in it, to who knows the key."""

    daemon_threads = True

    def __init__(self, make: Callable[[], PageContent], port: int) -> None:
        """
        Args:
            make: the content, from the store.
            port: 0: a free one.

        Raises:
            OSError: the port is taken.
        """
        self.fresh = CachedContent(make)
        self.key = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the page, the key included."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.key}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def setup(self) -> None:
        """Prepare a connection, with a limit for those that connect and say nothing."""
        super().setup()
        self.connection.settimeout(SILENCE)

    def do_GET(self) -> None:
        # A site that lets its name point to loopback would read the page through its visitor's browser.
        if self.headers.get("Host", "") not in {
            f"{name}:{self.server.server_port}" for name in (LOOPBACK, "localhost")
        }:
            self._answer(403, "text/plain", "this address is not the page's")
            return
        key, _, what = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(key.encode(), self.server.key.encode()):
            self._answer(403, "text/plain", "open the whole address that the terminal shows: there is a key in it")
        elif what not in ("", "content"):
            self._answer(404, "text/plain", "here are the page and its content")
        else:
            self._tell(what)

    def _tell(self, what: str) -> None:
        try:
            content = self.server.fresh.get()
        except Exception as error:  # the reader's page tells it, and asks again: a store may be away for a moment
            self._answer(503, "text/plain", str(error))
            return
        tag = f'"{content.version}"'
        if not what:
            self._answer(200, "text/html", render_page(content, live=True))
        elif self.headers.get("If-None-Match") == tag:
            self._answer(304, "application/json", "")
        else:
            self._answer(200, "application/json", content.to_json(), {"ETag": tag})

    def _answer(self, status: int, kind: str, text: str, headers: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**POLICY, **(headers or {}), "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal shows the address, and errors go to the page."""
