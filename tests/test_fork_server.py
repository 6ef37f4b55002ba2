"""Workers by fork: what a launcher hands over, how either end learns of the other's, and who is left to Ray itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.fork_program import RAYS_OWN, SOCKET
from cluster.fork_server import ForkServer, Imports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux")

WORKER = """
import json, os, signal, sys, time
import __main__
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "arguments": sys.argv[1:], "folder": os.getcwd(),
    "input": sys.stdin.read(),
    "own": os.environ.get("OWN"), "expanded": os.environ.get("EXPANDED"), "left": os.environ.get("PL_DISABLE_FORK"),
    "imported": [name for name in ("ray", "colorsys", "antigravity") if name in sys.modules], "beside": sys.path[0],
    "main": hasattr(__main__, "WAITS"), "deaf": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
}), flush=True)
WAITS = float(sys.argv[1])
time.sleep(WAITS)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(tmp_path_factory.mktemp("s") / "forks", Imports(("colorsys",), "json")) as started:
        yield started


def launched(
    server: ForkServer, folder: Path, *arguments: str, context: dict[str, object] | None = None, **variables: str
) -> subprocess.Popen[str]:
    """As Ray starts a worker."""
    program = folder / "worker.py"
    program.write_text(WORKER)
    told = [f"--serialized-runtime-env-context={json.dumps(context or {})}", "--language=PYTHON"]
    environment = {**os.environ, **server.settings, "RAY_JOB_ID": "01", "RAY_RAYLET_PID": "7", **variables}
    return subprocess.Popen(
        [sys.executable, server.launcher, *told, str(program), *arguments],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def worker_of(launcher: subprocess.Popen[str]) -> psutil.Process:
    """The process that it waits for, once that one runs."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdin.close()
    return psutil.Process(json.loads(launcher.stdout.readline())["pid"])


def test_a_worker_is_what_its_launcher_was_started_as(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(
        server, tmp_path, "0", "3", "--x=y z", context={"env_vars": {"EXPANDED": "${OWN}!"}}, OWN="a value"
    )
    out, _ = launcher.communicate("typed", timeout=60)
    assert launcher.returncode == 3
    found = json.loads(out)
    assert found["pid"] != launcher.pid
    assert found["parent"] == server.pid
    assert (found["arguments"], found["input"]) == (["0", "3", "--x=y z"], "typed")
    assert (found["folder"], found["beside"]) == (str(tmp_path), str(tmp_path))
    assert (found["own"], found["expanded"], found["left"]) == ("a value", "a value!", None)
    assert found["imported"] == ["ray", "colorsys"]
    assert found["deaf"]  # Ctrl-C in a terminal reaches every process of a run


def test_a_launcher_that_is_killed_takes_its_worker_along(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(server, tmp_path, "600", "0")
    worker = worker_of(launcher)
    launcher.kill()
    launcher.wait()
    assert psutil.wait_procs([worker], timeout=30)[1] == []


def test_a_worker_that_is_killed_ends_its_launcher(server: ForkServer, tmp_path: Path) -> None:
    launcher = launched(server, tmp_path, "600", "0")
    worker_of(launcher).kill()
    assert launcher.wait(timeout=30) != 0


@pytest.mark.parametrize(
    ("context", "variables"),
    [
        ({"py_executable": "/another/python"}, {}),
        ({"command_prefix": ["source", "environment", "&&"]}, {}),
        ({}, {"RAY_JOB_ID": "02"}),
        ({}, {SOCKET: "/nowhere/forks"}),
    ],
    ids=["another Python", "a prefix", "another driver", "no server"],
)
def test_a_worker_that_the_server_cannot_make_is_started_by_rays_own_program(
    server: ForkServer, tmp_path: Path, context: dict[str, object], variables: dict[str, str]
) -> None:
    launched(server, tmp_path, "0", "0").communicate("", timeout=60)  # the server knows its driver
    rays_own = tmp_path / "setup_worker.py"
    rays_own.write_text("import os, sys; print(os.getpid(), len(sys.argv))")
    launcher = launched(server, tmp_path, "0", "0", context=context, **{RAYS_OWN: str(rays_own), **variables})
    out, _ = launcher.communicate(timeout=60)
    assert out.split() == [str(launcher.pid), "6"]


def test_server_and_workers_end_with_the_driver_however_that_ends(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
import os, time
from pathlib import Path
from cluster.fork_server import ForkServer, Imports
with ForkServer(Path({str(tmp_path)!r}) / "forks", Imports((), "json")) as server:
    print(server.pid, flush=True)
    time.sleep(600)
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    server = psutil.Process(int(driver.stdout.readline()))
    beside = ForkServer(tmp_path / "forks", Imports((), "json"))  # knows the place; starts nothing
    launcher = launched(beside, tmp_path, "600", "0")
    worker = worker_of(launcher)
    driver.kill()
    driver.wait()
    assert psutil.wait_procs([server, worker], timeout=30)[1] == []
    assert launcher.wait(timeout=30) == 1


def test_a_server_that_cannot_import_says_so_and_leaves_workers_to_ray(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rays_own = tmp_path / "setup_worker.py"
    rays_own.write_text("import os; print(os.getpid())")
    with ForkServer(tmp_path / "forks", Imports(("no_such_module",), "json")) as server:
        server.wait()
        launcher = launched(server, tmp_path, "0", "0", **{RAYS_OWN: str(rays_own)})
        assert launcher.communicate(timeout=60)[0].split() == [str(launcher.pid)]
    assert "has ended, with status 1" in caplog.text
    assert "no_such_module" in caplog.text
