"""NVIDIA's MPS as a run uses it: started where it is permitted, ended with the run, and never left out silently.

The control program is a script that answers as the real one does and writes down what it was told.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.capacity import ClusterError, Node
from cluster.gpu.mps import CONTROL, LOGS, PIPES, UUID_FILE, VISIBLE, MpsDaemons, probe_mps, share_gpus

# With -d a daemon starts; without, a line of standard input is a command to the daemon behind the pipe directory.
PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, sys
pipes = pathlib.Path(os.environ["{PIPES}"])
told = pathlib.Path(__file__).with_name("told.jsonl")
command = "-d" if sys.argv[1:] == ["-d"] else sys.stdin.read().strip()
with told.open("a") as out:
    out.write(json.dumps([command, dict(os.environ)]) + "\\n")
if command == "-d":
    if pathlib.Path(__file__).with_name("forbidden").exists():
        sys.exit("An instance of this daemon is already running")
    (pipes / "control").touch()
elif not (pipes / "control").exists():
    sys.exit("Cannot find MPS control daemon process")
elif command.startswith("quit"):
    (pipes / "control").unlink()
"""
Tool = Callable[[str, str], Path]
TWO = ["0, GPU-1a2b, NVIDIA H200, Default", "1, GPU-3c4d, NVIDIA H200, Default"]
SHARED = ["-d", "get_server_list"]  # what a daemon is told when it is started


def listing(*gpus: str) -> str:
    """The program nvidia-smi of a machine with these GPUs."""
    return "\n".join(["#!/bin/sh", *(f"echo '{gpu}'" for gpu in gpus)]) + "\n"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts an executable on the path, beside the nvidia-smi of a machine with two GPUs; no daemon runs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("cluster.gpu.mps.DEFAULT_PIPES", str(tmp_path / "nvidia-mps"))
    for variable in (PIPES, VISIBLE, "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(variable, raising=False)

    def put(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    put("nvidia-smi", listing(*TWO))
    return put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Makes a run's temporary folder."""
    path = tmp_path / "run"
    path.mkdir()
    return path


def told(program: Path) -> list[tuple[str, dict[str, str]]]:
    lines = program.with_name("told.jsonl")
    return [tuple(json.loads(line)) for line in lines.read_text().splitlines()] if lines.exists() else []


def commands(program: Path) -> list[str]:
    return [command for command, _ in told(program)]


@pytest.mark.system
def test_a_daemon_per_gpu_is_started_in_the_folder_of_the_run_and_ended_with_it(tool: Tool, folder: Path) -> None:
    program = tool(CONTROL, PROGRAM)
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.settings == {PIPES: f"{folder}/mps", LOGS: f"{folder}/mps-logs"}
        assert commands(program) == []  # the trial that is measured has the device for itself
        assert daemons.share() == "under MPS, started for this run"
        for gpu, uuid in (("0", "GPU-1a2b"), ("1", "GPU-3c4d")):
            assert (folder / "mps" / gpu / "control").exists()
            assert (folder / "mps" / gpu / UUID_FILE).read_text() == uuid  # the workers read it
    assert commands(program) == [*SHARED, *SHARED, "quit -t 5", "quit -t 5"]
    served = {(environment[PIPES], environment[VISIBLE]) for command, environment in told(program) if command == "-d"}
    assert served == {(f"{folder}/mps/0", "GPU-1a2b"), (f"{folder}/mps/1", "GPU-3c4d")}
    assert not list(folder.glob("mps/*/control"))


@pytest.mark.system
def test_where_one_gpu_gets_no_daemon_none_is_left(tool: Tool, folder: Path) -> None:
    program = tool(CONTROL, PROGRAM.replace('name("forbidden").exists()', 'name("x").exists() or pipes.name == "1"'))
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.share().startswith("in time slices, without MPS: nvidia-cuda-mps-control -d failed: ")
        assert not list(folder.glob("mps/*/control"))
    assert commands(program) == ["-d", "get_server_list", "-d", "quit -t 5"]


@pytest.mark.system
def test_a_daemon_is_ended_after_an_error_as_well(tool: Tool, folder: Path) -> None:
    program = tool(CONTROL, PROGRAM)

    def stopped_run() -> None:
        with MpsDaemons(str(folder)) as daemons:
            daemons.share()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_run()
    assert commands(program)[-1] == "quit -t 5"


@pytest.mark.unit
def test_a_daemon_that_was_not_needed_is_neither_started_nor_ended(tool: Tool, folder: Path) -> None:
    program = tool(CONTROL, PROGRAM)
    with MpsDaemons(str(folder)):
        pass
    assert commands(program) == []


@pytest.mark.system
def test_a_daemon_that_does_not_end_when_asked_is_ended_by_its_process_id(tool: Tool, folder: Path) -> None:
    tool(CONTROL, PROGRAM.replace('(pipes / "control").unlink()', "sys.exit(1)"))
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with MpsDaemons(str(folder)) as daemons:
        daemons.share()
        (folder / f"mps/0/{CONTROL}.pid").write_text(f"{sleeper.pid}\n")
    assert sleeper.wait(timeout=30) != 0


@pytest.mark.system
@pytest.mark.parametrize(
    ("visible", "served"),
    [
        ("1", {"1": "GPU-3c4d"}),
        ("GPU-3c4d,GPU-1a2b", {"GPU-3c4d": "GPU-3c4d", "GPU-1a2b": "GPU-1a2b"}),
        ("MIG-5e6f", {"MIG-5e6f": "MIG-5e6f"}),
    ],
)
def test_a_daemon_gets_no_token_and_the_uuid_of_its_gpu_by_whatever_name_ray_has_it(
    tool: Tool, folder: Path, monkeypatch: pytest.MonkeyPatch, visible: str, served: dict[str, str]
) -> None:
    program = tool(CONTROL, PROGRAM)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv(VISIBLE, visible)
    with MpsDaemons(str(folder)) as daemons:
        daemons.share()
    started = [environment for command, environment in told(program) if command == "-d"]
    assert {Path(environment[PIPES]).name: environment[VISIBLE] for environment in started} == served
    assert not any("RAY_AUTH_TOKEN" in environment for environment in started)


@pytest.mark.system
@pytest.mark.parametrize(
    ("gpus", "visible", "why"),
    [
        ([], None, "nvidia-smi lists no GPU"),
        (TWO, "2", "nvidia-smi lists no GPU 2, which CUDA_VISIBLE_DEVICES names"),
        ([TWO[0], TWO[1].replace("H200", "T4")], "1", r"the GPUs differ, .* set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
    ],
)
def test_without_a_sure_uuid_the_header_says_why_there_is_none(
    tool: Tool, folder: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str], visible: str | None, why: str
) -> None:
    program = tool(CONTROL, PROGRAM)
    tool("nvidia-smi", listing(*gpus))
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    with MpsDaemons(str(folder)) as daemons:
        assert re.fullmatch(f"in time slices, without MPS: {why}", daemons.share())
        if "differ" in why:
            monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            assert daemons.share() == "under MPS, started for this run"
    assert ("-d" in commands(program)) == ("differ" in why)


@pytest.mark.system
@pytest.mark.parametrize("variable", [True, False])
def test_a_daemon_that_runs_already_is_used_and_left_running(
    tool: Tool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: bool
) -> None:
    program, pipes = tool(CONTROL, PROGRAM), tmp_path / ("mine" if variable else "nvidia-mps")
    pipes.mkdir()
    (pipes / "control").touch()
    if variable:
        monkeypatch.setenv(PIPES, str(pipes))
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.settings == {}  # the workers find it as they would without us
        assert daemons.share() == f"under the MPS that runs here already ({pipes})"
    assert set(commands(program)) == {"get_server_list"}
    assert (pipes / "control").exists()


@pytest.mark.system
def test_a_socket_that_a_dead_daemon_left_is_no_daemon(tool: Tool, folder: Path, tmp_path: Path) -> None:
    tool(CONTROL, PROGRAM.replace('elif not (pipes / "control").exists()', 'elif pipes.name == "nvidia-mps"'))
    (tmp_path / "nvidia-mps").mkdir()
    (tmp_path / "nvidia-mps/control").touch()
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.share() == "under MPS, started for this run"


@pytest.mark.system
def test_where_it_cannot_run_the_header_says_why(tool: Tool, folder: Path) -> None:
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.share() == f"in time slices, without MPS: {CONTROL} is not on PATH"
    program = tool(CONTROL, PROGRAM)
    program.with_name("forbidden").touch()
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.share().endswith("-d failed: An instance of this daemon is already running")
    assert "quit -t 5" not in commands(program)


@pytest.mark.system
def test_a_user_who_wants_none_gets_none_not_even_one_that_runs(tool: Tool, folder: Path, tmp_path: Path) -> None:
    program = tool(CONTROL, PROGRAM)
    (tmp_path / "nvidia-mps").mkdir()
    (tmp_path / "nvidia-mps/control").touch()
    with MpsDaemons(str(folder), wanted=False) as daemons:
        assert daemons.settings[PIPES] == f"{folder}/mps"  # where no daemon answers
        assert daemons.share() == "in time slices, without MPS: cluster.mps is false"
    assert commands(program) == []


@pytest.mark.system
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_the_daemon_of_another_user_is_not_used(tool: Tool, folder: Path, tmp_path: Path) -> None:
    tool(CONTROL, PROGRAM)
    pipes = tmp_path / "nvidia-mps"
    pipes.mkdir()
    (pipes / "control").touch()
    os.chown(pipes / "control", 12345, 12345)
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.settings[PIPES] == f"{folder}/mps"
        assert daemons.share() == f"in time slices, without MPS: another user's runs here ({pipes})"


@pytest.mark.system
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("foreign", ["the folder", "a link to the folder", "a link to the socket"])
def test_a_folder_of_another_user_that_leads_to_a_daemon_of_the_systems_is_not_used(
    tool: Tool, folder: Path, tmp_path: Path, foreign: str
) -> None:
    tool(CONTROL, PROGRAM)
    pipes, real = tmp_path / "nvidia-mps", tmp_path / "real"
    real.mkdir()
    (real / "control").touch()
    if foreign == "a link to the folder":
        pipes.symlink_to(real)
    else:
        pipes.mkdir()
        (pipes / "control").symlink_to(real / "control")
        if foreign == "the folder":
            (pipes / "control").unlink()
            (pipes / "control").touch()
    if foreign != "a link to the socket":
        os.lchown(pipes, 12345, 12345)
    with MpsDaemons(str(folder)) as daemons:
        assert daemons.share() == f"in time slices, without MPS: another user's runs here ({pipes})"


@pytest.mark.system
def test_gpus_that_take_one_process_each_are_not_shared_without_it(tool: Tool, folder: Path) -> None:
    tool("nvidia-smi", listing(*(gpu.replace("Default", "Exclusive_Process") for gpu in TWO)))
    with MpsDaemons(str(folder)) as daemons:
        with pytest.raises(ClusterError, match=r"cluster.gpus_per_trial: several trials per GPU, .* Set it to 1"):
            daemons.share()
        tool(CONTROL, PROGRAM)
        assert daemons.share() == "under MPS, started for this run"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_on_a_cluster_of_others_it_is_used_only_where_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ray

    nodes = [Node.from_ray(node) for node in ray.nodes()]
    assert not probe_mps().serves
    assert share_gpus(nodes) == (
        f"in time slices where there is no MPS: none runs on {nodes[0].address}, and only a local Ray starts one"
    )
    control = tmp_path / "control"
    control.touch()

    def with_mps() -> str:
        os.environ[PIPES] = str(tmp_path)  # as a raylet hands it to its workers
        return "under MPS" if probe_mps().serves else "alone"

    assert ray.get(ray.remote(with_mps).remote()) == "under MPS"


RUN = """
import json, os, pathlib, sys
import ray
from cluster import ClusterSpec
from cluster.gpu.mps import PIPES
from cluster.gpu.packing import Packing
from cluster.session import connect

def seen():
    return {"pipes": os.environ[PIPES], "daemon": pathlib.Path(os.environ[PIPES], "1", "control").exists()}

with connect(ClusterSpec(), run_folder=pathlib.Path(sys.argv[1])) as session:
    before = ray.get(ray.remote(max_calls=1)(seen).remote())
    shared = session.packed(Packing(2, {}), session.resources)
    after = ray.get(ray.remote(max_calls=1)(seen).remote())
print(json.dumps([before, after, shared.packing.describe(), PIPES in os.environ]))
"""


@pytest.mark.system
def test_the_workers_of_a_local_ray_find_the_daemon_once_it_is_started(tool: Tool, tmp_path: Path) -> None:
    program = tool(CONTROL, PROGRAM)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"PATH": f"{program.parent}:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    before, after, described, left = json.loads(done.stdout.splitlines()[-1])
    assert before == {"pipes": after["pipes"], "daemon": False}
    assert after["daemon"]
    assert described == "2 trials per GPU (as declared) under MPS, started for this run"
    assert commands(program) == [*SHARED, *SHARED, "quit -t 5", "quit -t 5"]
    assert not left
    assert not Path(after["pipes"]).parent.exists()
