"""Proxies that the environment names: Ray is reached without them on this machine, and none of them sees the token."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from ray.core.generated import gcs_pb2, gcs_service_pb2

from cluster.capacity import ClusterError
from cluster.jobs.dashboard import open_dashboard
from cluster.jobs.submission import JobRequest, Jobs
from cluster.ray_compat.head_service import Machine, machines_of
from cluster.ray_compat.raylet import raylet_of
from tests.support.certificates import certify
from tests.support.drivers import own_environment
from tests.support.proxies import DEAD, name_proxy, proxy_that_answers
from tests.support.serving import serving

TOKEN = "5" * 64
ROOT = Path(__file__).parents[3]
OF_GRPC = ("http_proxy", "https_proxy", "grpc_proxy")  # gRPC reads them in lower case alone
OF_HTTP = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)


@contextmanager
def grpc_server(method: str, answer: bytes) -> Iterator[int]:
    """Returns the port of a server that answers `method` with these bytes."""
    service, _, name = method.rpartition("/")
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.mark.unit
@pytest.mark.parametrize("variable", OF_GRPC)
@pytest.mark.parametrize("no_proxy", [None, "localhost,127.0.0.1"])
def test_a_head_is_asked_without_the_proxy(
    variable: str, no_proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = gcs_pb2.GcsNodeInfo(
        node_manager_hostname="here", node_manager_address="127.0.0.1", state=gcs_pb2.GcsNodeInfo.ALIVE
    )
    reply = gcs_service_pb2.GetAllNodeInfoReply(node_info_list=[node]).SerializeToString()
    name_proxy(monkeypatch, variable, DEAD)
    if no_proxy:
        monkeypatch.setenv("no_proxy", no_proxy)
    with grpc_server("ray.rpc.NodeInfoGcsService/GetAllNodeInfo", reply) as port:
        assert machines_of(f"127.0.0.1:{port}", None) == {Machine("here", "127.0.0.1")}


@pytest.mark.unit
@pytest.mark.parametrize("variable", OF_GRPC)
def test_a_raylet_is_asked_without_the_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name_proxy(monkeypatch, variable, DEAD)
    with (
        grpc_server("ray.rpc.NodeManagerService/GetResourceLoad", b"") as port,
        raylet_of({"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": port}) as raylet,
    ):
        assert raylet.free() == {}


@pytest.mark.unit
def test_every_grpc_channel_of_ours_is_opened_in_one_place() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("cluster", "trainables", "tuning")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\.(in)?secure_channel\(", path.read_text())
    }
    assert len(found) == 1, found


class Head(ThreadingHTTPServer):
    """A dashboard that requires `TOKEN` and has no job; it keeps the requests that carried the token."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The URL of the dashboard."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Head

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, "")
            return
        path = self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        if path == "/api/version":
            self._answer(200, {"ray_version": version("ray"), "version": "4"})
        elif path == "/api/jobs/" and self.command == "GET":
            self._answer(200, [])
        elif path == "/api/jobs/":
            self._answer(200, {"job_id": "one", "submission_id": "one"})
        elif path.startswith("/api/packages/") and self.command == "PUT":
            self._answer(200, "")
        else:
            self._answer(404, "none")

    do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing on standard error."""


@pytest.mark.unit
@pytest.mark.parametrize("variable", OF_HTTP)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_request_to_a_dashboard_on_loopback_goes_to_a_proxy(
    variable: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "job.zip"
    archive.write_bytes(b"PK\5\6" + b"\0" * 18)
    with proxy_that_answers(403) as proxy, serving(Head()) as head:
        name_proxy(monkeypatch, variable, proxy.url)
        jobs = Jobs(open_dashboard(head.url.replace("127.0.0.1", host)))
        assert jobs.submit(JobRequest("one", "true", archive, {"experiment": "one"}))
        assert jobs.list() == []
        assert jobs.find("one") is None
        for ask in (lambda: jobs.log("one"), lambda: jobs.forget("one"), lambda: jobs.follow("one", print)):
            with pytest.raises(ClusterError):
                ask()
        assert proxy.seen == []
    assert {"PUT", "POST", "DELETE", "GET"} == {asked.partition(" ")[0] for asked in head.asked}
    assert "GET /api/jobs/one/logs/tail" in head.asked


@pytest.mark.unit
@pytest.mark.parametrize("variable", OF_HTTP)
def test_the_token_is_not_sent_in_clear_text_through_a_proxy(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_that_answers(401) as proxy:  # passes on what the head says: it wants a token
        name_proxy(monkeypatch, variable, proxy.url.replace("http://", "http://me:hunter2@"))
        with pytest.raises(
            ClusterError, match=r"would read the cluster.s token\. Put head\.invalid into no_proxy"
        ) as told:
            open_dashboard("http://head.invalid:8265")
        assert f"the proxy {proxy.url} ({variable})" in str(told.value)
        assert "hunter2" not in str(told.value)
        assert len(proxy.seen) == 1
        assert TOKEN not in proxy.seen[0]


@pytest.mark.unit
@pytest.mark.parametrize("status", [403, 407, 502, 503])
def test_what_a_proxy_refuses_is_reported_as_the_proxys_word(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_that_answers(status) as proxy:
        name_proxy(monkeypatch, "http_proxy", proxy.url)
        with pytest.raises(ClusterError, match=rf"the proxy {proxy.url} \(http_proxy\) stands in the way.*{status}"):
            open_dashboard("http://head.invalid:8265")
        name_proxy(monkeypatch, "https_proxy", proxy.url)
        with pytest.raises(ClusterError, match=rf"the proxy {proxy.url} \(https_proxy\) stands in the way.*{status}"):
            open_dashboard("https://head.invalid:8265")
        assert TOKEN not in "".join(proxy.seen)


@pytest.mark.unit
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_through_a_proxy_https_carries_every_request_and_the_log_and_the_proxy_reads_no_token(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certify("head.invalid", certificate, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = Head()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as head, proxy_that_answers(403, behind=head.server_port) as proxy:
        name_proxy(monkeypatch, variable, proxy.url)
        jobs = Jobs(open_dashboard("https://head.invalid:8265"))
        assert jobs.list() == []
        with pytest.raises(ClusterError, match="not known"):
            jobs.follow("one", print)
        assert "GET /api/jobs/one/logs/tail" in head.asked
    assert {line for line in proxy.seen if line.startswith("CONNECT")} != set()
    assert TOKEN not in "".join(proxy.seen)


@pytest.mark.unit
def test_a_proxy_that_is_not_there_is_reported_with_the_variable_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name_proxy(monkeypatch, "ALL_PROXY", DEAD)
    with pytest.raises(ClusterError, match=r"the proxy http://127.0.0.1:9 \(ALL_PROXY\) stands in the way.*refused"):
        open_dashboard("http://head.invalid:8265")
    name_proxy(monkeypatch, "http_proxy", "127.0.0.1:9")  # as some write it
    with pytest.raises(ClusterError, match=r"the proxy http://127.0.0.1:9 \(http_proxy\) stands in the way.*refused"):
        open_dashboard("http://head.invalid:8265")
    name_proxy(monkeypatch, "all_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"the proxy socks5://127.0.0.1:9 \(all_proxy\) stands in the way.*SOCKS"):
        open_dashboard("http://head.invalid:8265")
    monkeypatch.setenv("no_proxy", "head.invalid")
    with pytest.raises(ClusterError, match=r"no dashboard answers at http://head\.invalid:8265"):
        open_dashboard("http://head.invalid:8265")


@pytest.mark.unit
def test_a_login_of_netrc_is_not_sent_in_place_of_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving(Head()) as head:
        assert Jobs(open_dashboard(head.url)).list() == []


SPEC = {
    "name": "proxied",
    "task": "text_classification",
    "trainable": "learning_curve",
    "epochs": 2,
    "space": {"learning_rate": {"choice": [1e-4, 1e-3]}},
    "strategies": [{"kind": "grid"}],
}


@pytest.mark.system
def test_a_local_run_behind_a_dead_proxy_ends_well(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), DEAD)
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli", "run", "spec.yaml"],
        cwd=tmp_path,
        env={**own_environment(), **proxies, "ALL_PROXY": DEAD, "no_proxy": "localhost,127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2/0/0" in done.stdout
