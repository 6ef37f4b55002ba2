"""Ray's client of the Jobs API as `RequestingClient` opens it up: everything that it sends goes through `send`."""

from __future__ import annotations

import json as json_format
from typing import Any

import pytest
from requests import Response

from cluster.ray_compat.job_client import RequestingClient

pytestmark = pytest.mark.unit

URL = "http://192.0.2.1:8265"  # reserved for documentation: nobody answers there
VERSION = {"version": "4", "ray_version": "2.60.0", "ray_commit": "1", "session_name": "one"}
JOB = {"submission_id": "a", "job_id": None, "type": "SUBMISSION", "status": "RUNNING", "entrypoint": "true"}


class Recording(RequestingClient):
    """Keeps what it would send."""

    def __init__(self, url: str) -> None:
        self.sent: list[tuple[str, str, Any, dict[str, str]]] = []
        super().__init__(url, headers={"Authorization": "Bearer secret"})

    def send(self, method: str, url: str, *, data: bytes | None, json: Any, **options: Any) -> Response:
        """Answers as a dashboard with one job does."""
        self.sent.append((method, url, json or data, self.headers))
        answers: dict[str, Any] = {
            "/api/version": VERSION,
            "/api/jobs/": [JOB] if method == "GET" else {"submission_id": "b", "job_id": "b"},
            "/api/jobs/a/stop": {"stopped": True},
        }
        answer = Response()
        answer.status_code = 200
        answer._content = json_format.dumps(answers[url.removeprefix(URL)]).encode()
        return answer


def test_all_requests_of_rays_client_go_through_send_with_its_headers() -> None:
    client = Recording(URL)
    assert client.list_jobs()[0].submission_id == "a"
    assert client.stop_job("a")
    assert client.submit_job(entrypoint="true", submission_id="b") == "b"
    assert {headers["Authorization"] for *_, headers in client.sent} == {"Bearer secret"}
    asked = [(method, url.removeprefix(URL)) for method, url, *_ in client.sent]
    for request in (
        ("GET", "/api/version"),
        ("GET", "/api/jobs/"),
        ("POST", "/api/jobs/a/stop"),
        ("POST", "/api/jobs/"),
    ):
        assert request in asked
    (submitted,) = [body for method, url, body, _ in client.sent if (method, url) == ("POST", f"{URL}/api/jobs/")]
    assert (submitted["entrypoint"], submitted["submission_id"]) == ("true", "b")


def test_headers_are_a_copy() -> None:
    client = Recording(URL)
    client.headers["Authorization"] = "another"
    assert client.headers["Authorization"] == "Bearer secret"
