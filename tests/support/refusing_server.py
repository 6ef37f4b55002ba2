"""A server that takes no key."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class RefusingServer(BaseHTTPRequestHandler):
    """Stands in for the W&B server: keeps the credentials it is shown, and refuses them."""

    shown: set[str] = set()  # noqa: RUF012

    def do_POST(self) -> None:
        self.shown.add(self.headers.get("Authorization", ""))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing on standard error."""
