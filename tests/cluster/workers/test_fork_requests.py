"""The fork server under bad requests, and on a system that has no more to give: it refuses, and forks the next."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
from pathlib import Path

import psutil
import pytest

from cluster.workers.forking import launcher, program
from cluster.workers.forking.launcher import SETUP_WORKER, SOCKET
from cluster.workers.forking.program import HEAD, MAGIC, REFUSED, VERSION
from cluster.workers.forking.server import ForkServer, Imports
from tests.support.launchers import PATIENCE, is_forked, launched, told_by, worker_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux"),
]


def connected(server: ForkServer) -> socket.socket:
    """Returns a socket that is connected to the fork server, such as a launcher opens."""
    launcher = socket.socket(socket.AF_UNIX)
    launcher.settimeout(PATIENCE)
    launcher.connect(server.settings[SOCKET])
    return launcher


def asking(server: ForkServer, data: bytes, descriptors: int = 3) -> socket.socket:
    """Returns a connection on which a launcher has sent `data` and some descriptors."""
    launcher = connected(server)
    socket.send_fds(launcher, [data], [0] * descriptors)
    return launcher


def answered(launcher: socket.socket) -> bytes:
    """Returns everything that the server sends until it closes the connection."""
    said = b""
    with launcher, contextlib.suppress(ConnectionError):
        while data := launcher.recv(64):
            said += data
    return said


def files_of(server: ForkServer) -> int:
    """Returns how many descriptors the server holds, once it has answered all earlier requests."""
    assert server.pid is not None
    assert answered(asking(server, b"x" * HEAD.size)) == REFUSED
    return psutil.Process(server.pid).num_fds()


FIELDS: dict[str, object] = {
    "program": ["worker.py"], "environment": {}, "variables": {}, "folder": "/", "oom_score": "0"
}  # fmt: skip


def request(version: int = VERSION, length: int | None = None, **changed: object) -> bytes:
    """Returns the bytes of a request."""
    body = json.dumps({**FIELDS, **changed}).encode()
    return HEAD.pack(MAGIC, version, len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "data",
    [
        request(colour="blue"),
        request(version=VERSION + 1),
        request(version=VERSION + 1, colour="blue"),
        request(environment=None),
        request(environment={"A": 1}),
        request(program=[]),
        request(program="worker.py"),
        request(folder=7),
        HEAD.pack(MAGIC, VERSION, 2) + b"[]",
        HEAD.pack(MAGIC, VERSION, 4) + b"\xff\xfe{}",
        HEAD.pack(MAGIC, VERSION, 0),
        request(length=1 << 60),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack("!Q", 2) + b"{}" * 8,  # of the first version of the protocol
    ],
)
def test_a_bad_request_is_refused_and_the_next_worker_is_forked(
    server: ForkServer, tmp_path: Path, data: bytes
) -> None:
    before = files_of(server)
    assert answered(asking(server, data)) == REFUSED
    assert files_of(server) <= before  # a job zygote may have ended
    assert told_by(launched(server, tmp_path, "0", "0"))["imported"] == ["ray", "colorsys"]


def test_a_request_without_the_streams_is_refused(server: ForkServer) -> None:
    assert [answered(asking(server, request(), descriptors=number)) for number in (1, 2, 4)] == [REFUSED] * 3


def test_launchers_that_close_early_leave_no_descriptor_behind(server: ForkServer, tmp_path: Path) -> None:
    told_by(launched(server, tmp_path, "0", "0"))  # its job has a job zygote now
    before, whole = files_of(server), request()
    for number in range(50):
        asking(server, whole[: 1 + number * len(whole) // 60]).close()
        connected(server).close()
    assert files_of(server) <= before  # a job zygote may have ended


def test_a_launcher_that_says_nothing_keeps_nobody_waiting(server: ForkServer, tmp_path: Path) -> None:
    silent = [connected(server) for _ in range(20)]
    launcher = launched(server, tmp_path, "0", "0")
    assert told_by(launcher)["parent"] != os.getpid()
    for one in silent:
        one.setblocking(False)
        with pytest.raises(BlockingIOError):  # it is not dropped yet
            one.recv(1)
        one.close()


def test_a_server_without_a_descriptor_left_leaves_workers_to_ray_and_forks_again_later(
    tmp_path: Path, rays_own: Path
) -> None:
    import resource

    with ForkServer(tmp_path / "forks", Imports((), ())) as server:
        server.wait()
        assert server.pid is not None
        most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        held = files_of(server)  # it serves by then
        for room in range(4):  # for the connection, and some of what comes along
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (held + room, most[1]))
            assert not is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own)}))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, most)
        # Of another job: a job zygote has the limit that it was forked with.
        assert is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own), "RAY_JOB_ID": "02"}))
        assert files_of(server) <= held + 2  # a job zygote of each job


def test_a_job_zygote_that_was_killed_is_replaced(server: ForkServer, tmp_path: Path) -> None:
    job = {"RAY_JOB_ID": "05"}
    zygote = psutil.Process(int(str(told_by(launched(server, tmp_path, "0", "0", **job))["parent"])))
    zygote.kill()
    psutil.wait_procs([zygote], timeout=PATIENCE)
    assert told_by(launched(server, tmp_path, "0", "0", **job))["parent"] != zygote.pid


UNFORKABLE = """
import errno, os
forked = os.fork
def fork():
    if os.path.exists({flag!r}):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return forked()
os.fork = fork
"""


@pytest.mark.parametrize("job", ["first worker", "another worker"])
def test_a_fork_that_fails_leaves_one_worker_to_ray_and_no_other(
    tmp_path: Path, rays_own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], job: str
) -> None:
    """A fork fails where a user, or a container, may have no more processes."""
    flag = tmp_path / "no more processes"
    (tmp_path / "unforkable.py").write_text(UNFORKABLE.format(flag=str(flag)))
    monkeypatch.syspath_prepend(tmp_path)
    with ForkServer(tmp_path / "forks", Imports(("unforkable",), ())) as server:
        running = launched(server, tmp_path, "600", "0") if job == "another worker" else None
        if running is not None:
            worker = worker_of(running)
        flag.touch()
        assert not is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own)}))
        flag.unlink()
        assert is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own)}))
        if running is not None:
            assert worker.is_running()
            assert running.poll() is None
            running.kill()
            running.wait(PATIENCE)
    assert "a worker is started by Ray itself, not forked: [Errno 11] Resource temporarily" in capfd.readouterr().err


def test_launcher_and_server_speak_the_same_protocol() -> None:
    """Both run by path and import nothing of this package, so each has its own copy of the constants."""
    for name in ("HEAD", "MAGIC", "VERSION", "FORKED", "STATUS", "STREAMS"):
        one, other = (getattr(module, name) for module in (launcher, program))
        assert getattr(one, "format", one) == getattr(other, "format", other), name
