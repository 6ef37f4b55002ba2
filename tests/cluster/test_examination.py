"""`tunefleet doctor` finds what a machine lacks."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from cluster.examination import Finding, State, examine_folder, examine_machine

pytestmark = pytest.mark.unit


def found(topic: str) -> Finding:
    (one,) = [finding for finding in examine_machine() if finding.topic == topic]
    return one


def test_every_topic_is_reported_and_what_is_amiss_comes_with_advice() -> None:
    findings = examine_machine()
    topics = [finding.topic for finding in findings]
    assert topics == [
        *("versions", "cores", "memory", "devices", "/dev/shm", "temporary", "open files", "ports", "proxies"),
        "other accounts",
    ]
    assert all(finding.found for finding in findings)
    assert all(bool(finding.advice) == (finding.state is not State.FINE) for finding in findings)


def test_a_folder_that_cannot_be_written_is_lacking(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (refused,) = examine_folder("storage", tmp_path / "file" / "runs", "set cluster.storage=FOLDER")
    assert refused.state is State.LACKING
    assert f"{tmp_path / 'file' / 'runs'} cannot be written" in refused.found
    assert refused.advice == "set cluster.storage=FOLDER"
    (fine,) = examine_folder("storage", tmp_path / "new" / "runs", "set cluster.storage=FOLDER")
    assert fine.state in (State.FINE, State.NOTE)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]  # looking has made nothing


def test_proxies_are_reported_without_their_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert found("proxies") == Finding("proxies", State.FINE, "none is set")
    monkeypatch.setenv("https_proxy", "http://me:canary@proxy.corp:3128")
    monkeypatch.setenv("HTTP_PROXY", "me:canary@other.corp:80")
    monkeypatch.setenv("no_proxy", "localhost")
    told = found("proxies")
    assert told.state is State.NOTE
    assert told.found == "HTTP_PROXY=other.corp:80, https_proxy=http://proxy.corp:3128; no_proxy=localhost"


def test_few_open_files_are_noted_with_how_to_raise_them() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        told = found("open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (told.state, told.found) == (State.NOTE, "at most 1024 per process")
    assert told.advice.startswith("ulimit -n 65536")


def test_a_port_of_a_head_that_is_in_use_is_named() -> None:
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", 8265))
            bound.listen(8)
        except OSError:
            pass  # somebody else's dashboard: in use as well
        told = found("ports")
    assert told.state is State.NOTE
    assert "8265 (a head's dashboard)" in told.found


def test_a_folder_that_is_open_to_other_accounts_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    ours = tmp_path / f"tunefleet-{os.getuid()}"
    ours.mkdir()
    ours.chmod(0o777)
    told = found("other accounts")
    assert told.state is State.LACKING
    assert str(ours) in told.found
    ours.chmod(0o700)
    assert found("other accounts").state is State.FINE
