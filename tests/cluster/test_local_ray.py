"""A local Ray of one run: closed to everybody else, and gone with all its files however the run ends."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.joining import drive

pytestmark = pytest.mark.system

ENDINGS = ("end", "interrupt", "error on a busy machine")
# One process starts a local Ray once per ending, and prints what it saw of each.
DRIVER = """
import contextlib, http.client, psutil, signal
import ray
import cluster.ray_compat.raylet
from cluster.ray_compat.head_service import machines_of
from ray._private.node import Node
from ray._private.worker import _global_node

cluster.ray_compat.raylet.ANSWER_SECONDS = 2.0  # for a raylet that is stopped and will not answer
kill = Node.kill_all_processes

def on_a_busy_machine(node, **options):
    (raylet,) = (process for process in psutil.Process().children() if process.name() == "raylet")
    raylet.send_signal(signal.SIGSTOP)  # it cannot end within Ray's patience and is killed, with its agents alive
    return kill(node, **options)

def working_in(folder):  # Ray's processes overwrite their arguments and variables, not their open files
    for process in psutil.process_iter():
        try:
            if any(os.readlink(link).startswith(folder) for link in Path(f"/proc/{process.pid}/fd").iterdir()):
                yield process.name()
        except (OSError, psutil.NoSuchProcess):
            continue

def answers():  # of every port of Ray's, to somebody who has no token; asked until both agents are there
    until = time.monotonic() + 60
    while True:
        found, listening = {}, set()
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                for one in process.net_connections():
                    if one.status == psutil.CONN_LISTEN and one.laddr:
                        listening.add(process.name())
                        host = one.laddr.ip if one.laddr.ip not in ("0.0.0.0", "::") else "127.0.0.1"
                        with contextlib.suppress(OSError, http.client.HTTPException):
                            asked = http.client.HTTPConnection(host, one.laddr.port, timeout=5)
                            asked.request("GET", "/metrics")
                            found[f"{process.name()} {one.laddr.port}"] = asked.getresponse().status
        agents = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}  # the first, on port 52365, may find it taken
        if (agents <= listening and found) or time.monotonic() > until:
            return {"agents": sorted(agents & listening), "status": found}
        time.sleep(0.1)

@ray.remote
def niceness():
    return os.nice(0)

@ray.remote
class Busy:
    def work(self):
        time.sleep(1000)

for ending in sys.argv[3:]:
    Node.kill_all_processes = on_a_busy_machine if "error" in ending else kill
    before = dict(os.environ)
    try:
        with connect(spec, run_folder=folder) as session:
            closed = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
            head = ray.get_runtime_context().gcs_address
            seen = {
                "header": session.describe(),
                "niceness": ray.get(niceness.remote()),
                "auth mode": os.environ["RAY_AUTH_MODE"],
                "open to others": closed.stat().st_mode & 0o077,
                "lets in without the token": [t for t in (None, "f" * 64) if machines_of(head, t) is not None],
            }
            if ending == "end":
                seen["answers"] = answers()
            busy = Busy.remote()
            working = busy.work.remote()
            if ending != "end":
                raise KeyboardInterrupt if ending == "interrupt" else ValueError
    except (ValueError, KeyboardInterrupt):
        pass
    names = before.keys() | os.environ
    seen["changed variables"] = sorted(name for name in names if before.get(name) != os.environ.get(name))
    seen["files left"] = list(map(str, Path(os.environ["TMPDIR"]).iterdir()))
    seen["processes left"] = list(working_in(str(closed)))
    print(json.dumps(seen), flush=True)
"""


class Ended(NamedTuple):
    """The observations of each ending, and the folders of the driver."""

    seen: Mapping[str, Mapping[str, Any]]
    home: Path
    temporary: Path
    run: Path


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    folder = tmp_path_factory.mktemp("local")
    (folder / "home").mkdir()
    with tempfile.TemporaryDirectory(prefix="tft", dir="/tmp") as short:  # Ray's sockets have long names
        environment = {"HOME": str(folder / "home"), "TMPDIR": short, "RAY_ADDRESS": "10.0.0.1:1"}
        lines = drive(DRIVER, "", folder / "run", *ENDINGS, **environment).splitlines()
        seen = dict(zip(ENDINGS, map(json.loads, lines), strict=True))
        yield Ended(seen, folder / "home", Path(short), folder / "run")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_local_ray_leaves_no_process_and_no_file(ended: Ended, ending: str) -> None:
    seen = ended.seen[ending]
    assert seen["processes left"] == []
    assert seen["files left"] == []
    assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_worker_niceness"} & set(seen["changed variables"])


def test_a_local_ray_writes_neither_into_the_home_folder_nor_into_the_run_folder(ended: Ended) -> None:
    for folder in (ended.home, ended.temporary, ended.run):
        assert list(folder.rglob("*")) == []


def test_a_local_ray_lets_nobody_else_in(ended: Ended) -> None:
    for seen in ended.seen.values():
        assert seen["auth mode"] == "token"
        assert seen["open to others"] == 0, "another account can reach Ray's sockets and its code"
        assert seen["lets in without the token"] == []


def test_a_local_ray_answers_no_request_of_who_has_no_token(ended: Ended) -> None:
    answers = ended.seen["end"]["answers"]
    assert answers["agents"] == ["ray::DashboardAgent", "ray::RuntimeEnvAgent"]
    assert set(answers["status"].values()) == {401}, "an exporter of metrics answers everybody"


def test_a_local_ray_does_not_step_back_behind_other_processes(ended: Ended) -> None:
    for seen in ended.seen.values():
        assert seen["header"].startswith("local Ray: ")
        assert seen["niceness"] == 0


# Starts what others might have running, with the run's folder in their command lines, and what a trial leaves behind.
BYSTANDERS = """
import ray, subprocess

def running(name, **options):
    command = ["/bin/sh", "-c", "read _; :", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd="/", **options)

@ray.remote(max_calls=1)
def leave_behind():  # a daemon: its parent has ended when the run does
    code = "import os, subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)"
    return int(subprocess.check_output([sys.executable, "-c", code]))

with connect(spec, run_folder=folder) as session:
    closed = str(Path(ray._private.worker._global_node.get_temp_dir_path()).parent)
    elsewhere = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    bystanders = {"one's own pager": running(f"{closed}/ray/log", env=elsewhere)}
    bystanders["a child of the driver"] = running("library")
    if os.getuid() == 0:
        bystanders["another account's"] = running(f"{closed}/ray/log", user=65534, group=65534, extra_groups=[])
    left = ray.get(leave_behind.remote())
    assert os.path.exists(f"/proc/{left}")
print(json.dumps({
    "still running": [name for name, process in bystanders.items() if process.poll() is None],
    "left behind": os.path.exists(f"/proc/{left}"),
}))
for process in bystanders.values():
    process.kill()
"""


def test_the_end_of_a_run_ends_what_the_run_has_started_and_nothing_that_merely_names_its_folder(
    tmp_path: Path,
) -> None:
    with tempfile.TemporaryDirectory(prefix="tft", dir="/tmp") as short:
        seen = json.loads(drive(BYSTANDERS, "", tmp_path / "run", HOME=str(tmp_path), TMPDIR=short))
    others = ["another account's"] if os.getuid() == 0 else []
    assert seen["still running"] == ["one's own pager", "a child of the driver", *others]
    assert seen["left behind"] is False


COMPILED = """
import ray

os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)

with connect(spec, run_folder=folder, compiled=Path(sys.argv[3])):
    print(ray.get(ray.remote(lambda: os.environ["TORCHINDUCTOR_CACHE_DIR"]).remote()))
"""


def test_compiled_code_stays_where_it_is_told_to(tmp_path: Path) -> None:
    printed = drive(COMPILED, "", tmp_path / "run", tmp_path / "kept")
    assert printed.split()[-1] == f"{tmp_path}/kept/torchinductor"
