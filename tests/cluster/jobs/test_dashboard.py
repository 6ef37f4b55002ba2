"""The dashboard of a head before a job is sent: what stands at an address without being our cluster, and addresses."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from cluster.capacity import ClusterError
from cluster.jobs.dashboard import dashboard_url, open_dashboard
from tests.support.serving import serving

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def standing_in(version: str | None, *, status: int = 200) -> Iterator[int]:
    """Returns the port of an HTTP server that answers /api/version as a Ray of that version; None: as no Ray."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ray_version": version}).encode() if version else b"<html>"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("", 0), Handler)) as server:
        yield server.server_port


def refusal(url: str) -> str:
    with pytest.raises(ClusterError) as caught:
        open_dashboard(url)
    return str(caught.value)


def test_another_ray_than_ours_is_reported_before_anything_is_sent() -> None:
    with standing_in("2.9.3") as port:
        assert "runs Ray 2.9.3, this machine Ray" in refusal(f"http://127.0.0.1:{port}")


def test_what_is_no_dashboard_is_reported_as_such() -> None:
    with standing_in(None) as port:
        assert "is no Ray dashboard" in refusal(f"http://127.0.0.1:{port}")
    assert f"no dashboard answers at http://127.0.0.1:{port}" in refusal(f"http://127.0.0.1:{port}")


def test_a_cluster_of_others_that_lets_everybody_in_is_refused_unless_one_insists() -> None:
    with standing_in(version("ray")) as port:
        here = f"http://{socket.gethostname()}:{port}"  # a name: nothing says that it is this machine alone
        assert "insist with --allow-unauthenticated" in refusal(here)
        assert open_dashboard(here, allow_unauthenticated=True).token is None
        assert open_dashboard(f"http://127.0.0.1:{port}").headers == {}


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (None, "http://127.0.0.1:8265"),
        ("head", "http://head:8265"),
        ("http://head:80/", "http://head:80"),
        ("https://ray.example.org/team", "https://ray.example.org:443/team"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_is_completed(address: str | None, url: str) -> None:
    assert dashboard_url(address) == url


def test_the_address_may_come_from_rays_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://there:1")
    assert dashboard_url(None) == "http://there:1"
    assert dashboard_url("http://here:1") == "http://here:1"


@pytest.mark.parametrize("address", ["ray://head:10001", "http://", "http://me:secret@head:8265", "http://head:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ClusterError) as caught:
        dashboard_url(address)
    assert "secret" not in str(caught.value)
