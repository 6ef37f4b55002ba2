"""Serves the live page during a run, on loopback. Requests rebuild it from the store, every few seconds at most.

Any account of the machine can connect to loopback, so the URL contains a key that only the terminal shows.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from tuning.report.page.document import PageContent, render_page

LOOPBACK = "127.0.0.1"
REBUILT_EVERY = 4.0  # seconds, at most
REST = 4.0  # pause between builds, as a multiple of the last build's time: the run needs the machine more
SILENCE = 30.0  # seconds after which an idle connection is closed
POLICY = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class CachedContent:
    """The content of the page, rebuilt on request when it is out of date."""

    def __init__(self, make: Callable[[], PageContent]) -> None:
        self._make, self._lock = make, Lock()
        self._content: PageContent | None = None
        self._due = 0.0

    def get(self) -> PageContent:
        """Returns the current content. One thread builds it while others wait.

        Raises:
            Exception: any error of building it.
        """
        with self._lock:
            begin = time.monotonic()
            if self._content is None or begin >= self._due:
                self._content = self._make()
                end = time.monotonic()
                self._due = end + max(REBUILT_EVERY, REST * (end - begin))
            return self._content


class PageServer(ThreadingHTTPServer):
    """Serves the page at `/KEY/` and its content as JSON at `/KEY/content`."""

    daemon_threads = True

    def __init__(self, make: Callable[[], PageContent], port: int) -> None:
        """
        Args:
            make: builds the content from the store.
            port: to listen on; 0: a free one.

        Raises:
            OSError: the port is taken.
        """
        self.fresh = CachedContent(make)
        self.key = secrets.token_urlsafe(24)
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def url(self) -> str:
        """The URL of the page, including the key."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.key}/"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def setup(self) -> None:
        """Prepares a connection with a timeout."""
        super().setup()
        self.connection.settimeout(SILENCE)

    def do_GET(self) -> None:
        # DNS rebinding: another site could point its name to loopback and read the page in its visitor's browser.
        if self.headers.get("Host", "") not in {
            f"{name}:{self.server.server_port}" for name in (LOOPBACK, "localhost")
        }:
            self._answer(403, "text/plain", "the page has another address")
            return
        key, _, what = self.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(key.encode(), self.server.key.encode()):
            self._answer(403, "text/plain", "open the whole address that the terminal shows: it contains a key")
        elif what not in ("", "content"):
            self._answer(404, "text/plain", "only the page and its content are served here")
        else:
            self._send(what)

    def _send(self, what: str) -> None:
        try:
            content = self.server.fresh.get()
        except Exception as error:  # the page shows it and retries: a store may be unavailable for a moment
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
        """Logs nothing: the terminal shows the URL, and errors go to the page."""
