"""Workers by fork: what a launcher hands over, how either end learns of the other's, and who is left to Ray itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cluster.workers.forking.launcher import MARK, MARKED_ONLY, SETUP_WORKER, SOCKET
from cluster.workers.forking.server import LAUNCHER, ForkServer, Imports
from cluster.workers.signals import signals_blocked
from tests.support.launchers import OOM_SCORE, PATIENCE, is_forked, launched, line_of, told_by, worker_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="a fork after imports is only made on Linux"),
]


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
