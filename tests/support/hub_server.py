"""A stand-in for the Hugging Face Hub: the documented endpoints that an upload uses, on a port of this machine.

Repositories are made, files come in over the commit or over Git LFS, each with its SHA-256 checked. Who has no token
gets 401, who writes into another's namespace 403.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import serving

TOKEN, USER = "hf_only-for-this-test", "someone"
LFS = (".safetensors", ".bin")


class Hub:
    """The repositories that were made, with what was uploaded to each."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}  # by SHA-256
        self.read_only: set[str] = set()  # repositories that the user may read alone
        self.asked: list[str] = []
        self.endpoint = ""

    def create(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{told['organization'] or USER}/{told['name']}"
        if told["organization"] not in (None, USER):
            return 403, {"error": f"You don't have the rights to create a model under {told['organization']}"}
        status = 409 if name in self.private else 200
        self.private.setdefault(name, told.get("visibility") == "private" or bool(told.get("private")))
        return status, {"url": f"{self.endpoint}/{name}"}

    def preupload(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        modes = [(f["path"], "lfs" if f["path"].endswith(LFS) else "regular") for f in told["files"]]
        return 200, {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]}

    def batch(self, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        def upload(asked: dict[str, Any]) -> dict[str, Any]:
            return {**asked, "actions": {"upload": {"href": f"{self.endpoint}/objects/{asked['oid']}"}}}

        return 200, {"transfer": "basic", "objects": [upload(asked) for asked in told["objects"]]}

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        files = self.files.setdefault(repo, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        return 200, {"commitUrl": f"{self.endpoint}/{repo}/commit/0", "commitOid": "0" * 40}


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Logs nothing on standard error."""

    def _answer(self, status: int, told: dict[str, Any]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        repo, _, asked = path.removeprefix("/api/models/").partition("/auth-check")
        if repo not in self.hub.private or (self.hub.private[repo] and not self._is_known()):
            self._answer(404, {"error": "Repository not found"})
        elif asked != "/write":
            self._answer(200, {"id": repo, "private": self.hub.private[repo], "tags": [], "downloads": 0})
        elif self._is_known() and repo.startswith(f"{USER}/") and repo not in self.hub.read_only:
            self._answer(200, {})
        else:
            self._answer(403, {"error": "You have read access but not the required permissions for this operation"})

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_PUT(self) -> None:
        content, oid = self._body(), self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            self._answer(400, {"error": "another SHA-256"})
            return
        self.hub.objects[oid] = content
        self._answer(200, {})

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self.hub.asked.append(path)
        if not self._is_known():
            self._answer(401, {"error": "Invalid username or password."})
            return
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        if path == "/api/repos/create":
            self._answer(*self.hub.create(lines[0]))
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            self._answer(*self.hub.preupload(lines[0]))
        elif path.endswith("/info/lfs/objects/batch"):
            self._answer(*self.hub.batch(lines[0]))
        elif "/commit/" in path:
            repo = path.removeprefix("/api/models/").partition("/commit/")[0]
            self._answer(*self.hub.commit(repo, lines))
        else:
            self._answer(404, {"error": f"no endpoint {path}"})


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Runs a hub that listens in the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield hub


def use_hub(
    monkeypatch: pytest.MonkeyPatch,
    hub: Hub,
    home: Path,
    *,
    token: str | None = None,
    endpoint: str | None = None,
    offline: bool = False,
) -> None:
    """Makes the hub's own client use `hub`, with that token or none, and keep its files in `home`.

    The library reads most of its variables once, as it is imported.
    """
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks Git LFS, the older way
    monkeypatch.setattr(constants, "ENDPOINT", endpoint or hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
