"""Workers by fork: what a launcher hands over, how either end learns of the other's, and who is left to Ray itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.workers.forking import launcher, program
from cluster.workers.forking.launcher import MARK, MARKED_ONLY, SETUP_WORKER, SOCKET
from cluster.workers.forking.program import HEAD, MAGIC, REFUSED, VERSION
from cluster.workers.forking.server import LAUNCHER, ForkServer, Imports
from cluster.workers.signals import signals_blocked

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux"),
]

OOM_SCORE = 700
PATIENCE = 60.0  # seconds for a process to say or do something on a busy machine

WORKER = """
import json, os, signal, sys, time
import __main__
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "arguments": sys.argv[1:],
    "folder": os.getcwd(), "input": sys.stdin.read(),
    "own": os.environ.get("OWN"), "expanded": os.environ.get("EXPANDED"), "left": os.environ.get("PL_DISABLE_FORK"),
    "imported": [name for name in ("ray", "colorsys", "antigravity") if name in sys.modules], "beside": sys.path[0],
    "job": os.environ.get("RAY_JOB_ID"), "path": sys.path,
    "main": hasattr(__main__, "WAITS"),
    "deaf": sorted(signal.Signals(number).name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
}), flush=True)
WAITS = float(sys.argv[1])
time.sleep(WAITS)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("s") / "forks", Imports(("colorsys",), ("ray",))) as started:
        yield started


@pytest.fixture
def rays_own(tmp_path: Path) -> Path:
    """Replaces Ray's program by one that prints its pid."""
    program = tmp_path / "setup_worker.py"
    program.write_text("import os; print(os.getpid())")
    return program


def launched(
    server: ForkServer, folder: Path, *arguments: str, context: dict[str, object] | None = None, **variables: str
) -> subprocess.Popen[str]:
    """Starts a launcher as Ray starts a worker."""
    program = folder / "worker.py"
    program.write_text(WORKER)
    told = [f"--serialized-runtime-env-context={json.dumps(context or {})}", "--language=PYTHON"]
    environment = {**os.environ, **server.settings, "RAY_JOB_ID": "01", "RAY_RAYLET_PID": "7", **variables}
    with_oom_score = [
        "sh",
        "-c",
        f'echo {OOM_SCORE} > /proc/self/oom_score_adj; exec "$0" "$@"',
    ]  # as the raylet sets it
    return subprocess.Popen(
        [*with_oom_score, sys.executable, LAUNCHER, *told, str(program), *arguments],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_by(launcher: subprocess.Popen[str]) -> dict[str, object]:
    """Returns the output of a launcher's worker, which has ended."""
    out, _ = launcher.communicate("typed", timeout=PATIENCE)
    found: dict[str, object] = json.loads(out)
    return found


def is_forked(launcher: subprocess.Popen[str]) -> bool:
    """True if the worker was forked; else the launcher has become Ray's own program."""
    out, _ = launcher.communicate(timeout=PATIENCE)
    return out.split() != [str(launcher.pid)]


def worker_of(launcher: subprocess.Popen[str]) -> psutil.Process:
    """Returns the worker of a launcher, once it runs."""
    assert launcher.stdin is not None
    launcher.stdin.close()
    return psutil.Process(json.loads(line_of(launcher))["pid"])


def line_of(process: subprocess.Popen[str]) -> str:
    """Returns the next line of a process."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE)[0], f"it has said nothing for {PATIENCE:g} s"
    return process.stdout.readline()


def test_a_worker_is_what_its_launcher_was_started_as(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(
        server, tmp_path, "0", "3", "--x=y z", context={"env_vars": {"EXPANDED": "${OWN}!"}}, OWN="a value"
    )
    found = told_by(launcher)
    assert launcher.returncode == 3
    assert found["pid"] != launcher.pid
    assert (found["arguments"], found["input"]) == (["0", "3", "--x=y z"], "typed")
    assert (found["folder"], found["beside"]) == (str(tmp_path), str(tmp_path))
    assert (found["own"], found["expanded"], found["left"]) == ("a value", "a value!", None)
    assert found["imported"] == ["ray", "colorsys"]
    # A closed terminal and Ctrl-C reach every process of a run; by SIGTERM the raylet ends it.
    assert found["deaf"] == ["SIGHUP", "SIGINT"]
    assert found["group"] == found["pid"]


def test_a_worker_that_imports_by_itself_ends_by_sigterm_also_where_its_raylet_does_not(tmp_path: Path) -> None:
    own = tmp_path / "setup_worker.py"
    own.write_text("import signal; print(*signal.pthread_sigmask(signal.SIG_BLOCK, ()))")
    with signals_blocked(signal.SIGTERM, signal.SIGHUP):
        done = subprocess.run(
            [sys.executable, LAUNCHER], env={SETUP_WORKER: str(own)}, stdout=subprocess.PIPE, text=True, check=True
        )
    assert done.stdout.split() == [str(int(signal.SIGHUP))]


def test_the_workers_of_a_job_are_forked_from_one_process_and_those_of_another_from_another(
    server: ForkServer, tmp_path: Path
) -> None:
    jobs = [told_by(launched(server, tmp_path, "0", "0", RAY_JOB_ID=job)) for job in ("01", "01", "02")]
    one, again, other = (found["parent"] for found in jobs)
    assert one == again != other
    assert [found["job"] for found in jobs] == ["01", "01", "02"]
    assert psutil.Process(server.pid).children() != []
    assert {one, other} <= {child.pid for child in psutil.Process(server.pid).children()}


def test_a_worker_imports_from_what_its_job_brings_and_works_in_the_jobs_folder(
    server: ForkServer, tmp_path: Path
) -> None:
    brought = tmp_path / "with space" / "antigravity.py"
    brought.parent.mkdir()
    brought.write_text("WHERE = __file__")
    context = {
        "command_prefix": ["cd", f"'{brought.parent}'", "&&"],
        "env_vars": {"PYTHONPATH": f"{brought.parent}{os.pathsep}/nowhere"},
    }
    found = told_by(launched(server, tmp_path, "0", "0", context=context))
    assert found["folder"] == str(brought.parent)
    assert found["path"][:3] == [str(tmp_path), str(brought.parent), "/nowhere"]  # type: ignore[index]


def test_the_kernel_is_to_kill_the_worker_and_not_its_launcher(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(server, tmp_path, "600", "0")
    worker = worker_of(launcher)
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() == str(OOM_SCORE)
    assert Path(f"/proc/{launcher.pid}/oom_score_adj").read_text() == Path("/proc/self/oom_score_adj").read_text()
    launcher.kill()
    launcher.wait(PATIENCE)


def test_a_launcher_that_is_killed_takes_its_worker_along(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(server, tmp_path, "600", "0")
    worker = worker_of(launcher)
    launcher.kill()
    launcher.wait(PATIENCE)
    assert psutil.wait_procs([worker], timeout=PATIENCE)[1] == []


def test_a_worker_that_is_killed_ends_its_launcher(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(server, tmp_path, "600", "0")
    worker_of(launcher).kill()
    assert launcher.wait(timeout=PATIENCE) != 0


@pytest.mark.parametrize(
    ("context", "variables"),
    [
        ({"py_executable": "/another/python"}, {}),
        ({"command_prefix": ["source", "environment", "&&"]}, {}),
        ({"env_vars": {"PYTHONPATH": "{hiding}"}}, {}),
        ({}, {SOCKET: "/nowhere/forks"}),
        ({}, {MARKED_ONLY: "1"}),
        ({"env_vars": {MARK: "1", "TOKENIZERS_PARALLELISM": "false"}}, {MARKED_ONLY: "1"}),
    ],
    ids=["another Python", "a prefix", "another module", "no server", "another's job", "a variable of its own"],
)
def test_a_worker_that_the_server_cannot_make_is_started_by_rays_own_program(
    server: ForkServer, tmp_path: Path, rays_own: Path, context: dict[str, object], variables: dict[str, str]
) -> None:
    hiding = tmp_path / "colorsys.py"
    hiding.write_text("")
    filled = json.loads(json.dumps(context).replace("{hiding}", str(tmp_path)))
    assert not is_forked(
        launched(server, tmp_path, "0", "0", context=filled, **{SETUP_WORKER: str(rays_own), **variables})
    )


def test_only_workers_of_ours_are_forked_on_a_node_for_everybody(server: ForkServer, tmp_path: Path) -> None:
    context: dict[str, object] = {"env_vars": {MARK: "1", "PL_DISABLE_FORK": "1"}}
    assert is_forked(launched(server, tmp_path, "0", "0", context=context, **{MARKED_ONLY: "1"}))


def test_no_worker_of_a_new_job_is_forked_once_an_imported_file_has_changed(
    tmp_path: Path, rays_own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "upgraded_later.py"
    module.write_text("VERSION = 1")
    monkeypatch.syspath_prepend(tmp_path)
    context: dict[str, object] = {"env_vars": {MARK: "1"}}
    old = {SETUP_WORKER: str(rays_own), "RAY_JOB_ID": "01"}
    with ForkServer(tmp_path / "forks", Imports(("upgraded_later",), ("ray",)), shared=True) as server:
        running = launched(server, tmp_path, "600", "0", context=context, **old)
        worker_of(running)
        module.write_text("VERSION = 2, and longer")
        assert is_forked(
            launched(server, tmp_path, "0", "0", context=context, **old)
        )  # as the driver of this job has it
        assert not is_forked(launched(server, tmp_path, "0", "0", context=context, **old | {"RAY_JOB_ID": "02"}))
        running.kill()
        running.wait(PATIENCE)
    assert f"1 files have changed since this node was started, such as {module}" in capfd.readouterr().err


def test_a_job_zygote_ends_soon_after_its_last_worker() -> None:
    program = """
import socket
from cluster.workers.forking import program
program.IDLE_SECONDS = 0.2
zygote, control = socket.socketpair()
print(program.JobZygote(control).serve())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert ended.stdout.strip() == "None"


def test_server_and_workers_end_with_the_driver_however_that_ends(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
import os, time
from pathlib import Path
from cluster.workers.forking.server import ForkServer, Imports
with ForkServer(Path({str(tmp_path)!r}) / "forks", Imports((), ())) as server:
    print(server.pid, flush=True)
    time.sleep(600)
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    server = psutil.Process(int(line_of(driver)))
    beside = ForkServer(tmp_path / "forks", Imports((), ()))  # knows the place; starts nothing
    launcher = launched(beside, tmp_path, "600", "0")
    worker = worker_of(launcher)
    driver.kill()
    driver.wait(PATIENCE)
    assert psutil.wait_procs([server, worker], timeout=PATIENCE)[1] == []
    assert launcher.wait(timeout=PATIENCE) == 1


def test_a_server_that_cannot_import_says_so_and_leaves_workers_to_ray(
    tmp_path: Path, rays_own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ForkServer(tmp_path / "forks", Imports(("no_such_module",), ())) as server:
        server.wait()
        assert not is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own)}))
    assert "has ended, with status 1" in caplog.text
    assert "no_such_module" in caplog.text


def test_a_job_whose_imports_fail_is_left_to_ray(tmp_path: Path, rays_own: Path) -> None:
    with ForkServer(tmp_path / "forks", Imports((), ("no_such_module",))) as server:
        server.wait()
        for _ in range(2):
            assert not is_forked(launched(server, tmp_path, "0", "0", **{SETUP_WORKER: str(rays_own)}))


# Bad requests, and a system that has no more to give


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
