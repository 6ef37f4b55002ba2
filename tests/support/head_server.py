"""A stand-in head that lets everybody in, and knows one finished experiment.

A job that fetches the experiment finds a bundle of the test's making, true or hostile.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs, urlsplit

ENDLESS = b"x" * (1 << 20)


class HeadServer(ThreadingHTTPServer):
    """Serves `files` as the output of a fetch job.

    Args:
        files: by name; "manifest.json" among them. A name of `endless` sends more than any bundle holds.
        name: of the experiment, as the job tells it.
    """

    def __init__(self, files: dict[str, bytes], *, name: str = "reviews", endless: Iterable[str] = ()) -> None:
        self.files, self.name, self.endless = files, name, set(endless)
        self.jobs: dict[str, str] = {}  # fetch jobs: id -> state
        self.sent = 0  # bytes of files
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def details(self, job: str, state: str) -> dict[str, Any]:
        """Describes a job as the Jobs API does."""
        about = {"tunefleet": version("tunefleet"), "experiment": self.name, "storage": "~/runs"}
        return {
            "type": "SUBMISSION", "submission_id": job, "status": state, "entrypoint": "true", "driver_node_id": "n1",
            "start_time": 1000, "metadata": about | ({"purpose": "fetch"} if job in self.jobs else {}),
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: HeadServer

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        head, path = self.server, parts.path.strip("/").split("/")
        match [self.command, *path]:
            case ["GET", "api", "version"]:
                self._json({"ray_version": version("ray"), "version": "4"})
            case ["GET", "nodes"]:
                self._json({"data": {"summary": []}})
            case ["GET", "api", "packages", *_]:
                self._answer(404, b"")
            case ["PUT", "api", "packages", *_]:
                self._answer(200, b"")
            case ["GET", "api", "jobs"]:
                self._json([head.details("first", "SUCCEEDED")])
            case ["POST", "api", "jobs"]:
                job = json.loads(sent)["submission_id"]
                head.jobs[job] = "RUNNING"
                self._json({"job_id": job, "submission_id": job})
            case ["GET", "api", "jobs", job]:
                self._json(head.details(job, head.jobs.get(job, "SUCCEEDED")))
            case ["POST", "api", "jobs", job, "stop"]:
                head.jobs[job] = "STOPPED"
                self._json({"stopped": True})
            case ["DELETE", "api", "jobs", job]:
                self._json({"deleted": bool(head.jobs.pop(job))})
            case ["GET", "api", "v0", "logs", "file"]:
                self._file(parse_qs(parts.query)["filename"][0].partition("/")[2])
            case _:
                self._answer(500, f"not foreseen: {self.command} {self.path}".encode())

    do_POST = do_PUT = do_DELETE = do_GET

    def _file(self, name: str) -> None:
        if name in self.server.endless:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(ENDLESS)
                    self.server.sent += len(ENDLESS)
            except OSError:  # whoever asked has had enough
                return
        found = self.server.files.get(name)
        self._answer(404 if found is None else 200, found or b"")

    def _json(self, content: Any) -> None:
        self._answer(200, json.dumps(content).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing on standard error."""


def tarred(members: Iterable[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    """Makes a tar of plain files by name, or of the members that TarInfos describe."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return written.getvalue()


def bundle(whole: bytes, **changed: Any) -> dict[str, bytes]:
    """Returns the files of a fetch job for a tar in one part; `changed` replaces fields of the manifest's part."""
    part = {"name": "part-00000", "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()} | changed
    manifest = {"parts": [part], "best": "grid, seed 0", "error": None}
    return {"manifest.json": json.dumps(manifest).encode(), str(part["name"]): whole}
