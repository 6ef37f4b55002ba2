"""Fixtures of runs in a bucket, on a server that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.buckets import credentials, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Returns the URI of an empty folder; the environment has the credentials and the server."""
    for name, value in credentials(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "machine"))
    return f"s3://bucket/{abs(hash(request.node.name))}"
