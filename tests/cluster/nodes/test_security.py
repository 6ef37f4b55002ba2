"""Strangers and secrets: what a cluster answers without its token, what is refused, and where no key may be found."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import os
import stat
import subprocess
import sys
import tempfile
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import psutil
import pytest

from cluster.capacity import ClusterError
from cluster.nodes.head import find_head
from cluster.nodes.start import start_node
from tests.support.drivers import Watched
from tests.support.joining import account, clean_environment, driver_command
from tests.support.port_table import WRONG, Row, ask, family, ports_of, table
from tests.support.raylets import first_of_free_ports
from tests.support.refusing_server import RefusingServer
from tests.support.serving import serving
from tuning.cli import main
from tuning.study.worker_imports import slot_imports

TUNEFLEET = str(Path(sys.executable).with_name("tunefleet"))
README = Path(__file__).parents[3] / "cluster" / "README.md"
MARK = "TUNEFLEET_TEST_CLUSTER"
# Canaries, as long as such keys are: files in the home folder of the nodes, and a variable of theirs.
SECRETS = {"wandb_key": "decade11" * 5, ".cache/huggingface/token": "hf_" + "Canary7" * 5}
VARIABLE = "beaded22" * 5
SUBMITTERS = {"WANDB_API_KEY": "faced033" * 5, "HF_TOKEN": "hf_" + "Parrot9" * 5}


class Cluster(NamedTuple):
    """A head and a worker from `tunefleet cluster start`, and a driver with an actor on each."""

    address: str
    dashboard: str
    home: Path
    temporary: tuple[Path, Path]  # of the head, of the worker
    environment: dict[str, str]
    token: str


# Joins as a run does, keeps an actor busy on each node, and stays.
ACTORS = """
import ray
with connect(spec, run_folder=folder) as session:
    @ray.remote(num_cpus=0)
    class Busy:
        def work(self):
            return None
    on = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    busy = [Busy.options(scheduling_strategy=on(node.id, soft=False)).remote() for node in session.nodes]
    assert len(ray.get([actor.work.remote() for actor in busy])) == 2
    print(session.describe(), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def wandb_server() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), RefusingServer)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def cluster(wandb_server: str) -> Iterator[Cluster]:
    """Starts one cluster for all tests of this file; at the end it is stopped, and no process is left."""
    base, mark = first_of_free_ports(20), uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="tft", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home, temporary, workers = Path(folder, "h"), Path(folder, "t"), Path(folder, "w")
        for place in (home, temporary, workers):
            place.mkdir()
        for name, secret in SECRETS.items():
            file = home / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secret)
            file.chmod(0o600)
        environment = {"HOME": str(home), "TMPDIR": str(temporary), MARK: mark, "NODE_SECRET": VARIABLE}
        environment["WANDB_BASE_URL"] = wandb_server
        ours = ["--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000"]
        agents = [f"--dashboard-agent-listen-port={base + 2}", f"--dashboard-agent-listen-port={base + 3}"]
        try:
            command = [TUNEFLEET, "cluster", "start", "--head", "--", *ours, agents[0]]
            command += [f"--port={base}", f"--dashboard-port={base + 1}"]
            variables = clean_environment(**environment)
            head = subprocess.run(
                command, capture_output=True, text=True, timeout=300, check=False, cwd="/", env=variables
            )
            assert head.returncode == 0, head.stderr
            address = next(word for word in head.stdout.split() if word.endswith(f":{base};"))[:-1]
            token = (home / ".ray" / "auth_token").read_text()
            assert token not in head.stdout + head.stderr
            # A folder of its own, as another machine would have: two nodes clean up after each other in one.
            with account(**{**environment, "TMPDIR": str(workers)}):
                start_node(address, [*ours, agents[1]], slot_imports())
            yield Cluster(address, f"http://127.0.0.1:{base + 1}", home, (temporary, workers), environment, token)
        finally:
            started = family(MARK, mark)
            with (
                mock.patch("psutil._pslinux.boot_time", return_value=1e9),  # the clock has been set since
                account(**environment),
                contextlib.redirect_stdout(io.StringIO()) as stopped,
            ):
                main(["cluster", "stop"])
        assert stopped.getvalue() == "2 nodes stopped\n"
        assert len(started) > 15
        _, alive = psutil.wait_procs(started, timeout=30)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture(scope="module")
def joined(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Runs a driver in the cluster, with an actor on each node."""
    with subprocess.Popen(
        driver_command(ACTORS, cluster.address, tmp_path_factory.mktemp("joined") / "run"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        env=clean_environment(**cluster.environment),
    ) as process:  # fmt: skip
        driver = Watched(process)
        try:
            assert driver.wait_until(lambda: bool(driver.lines)), driver.errors
            yield driver
            assert process.stdin is not None
            process.stdin.close()
            assert driver.end() == 0, driver.errors
        finally:
            process.kill()


@pytest.fixture(scope="module")
def rows(cluster: Cluster, joined: Watched) -> list[Row]:
    """Returns what every port of the cluster answers, with a driver connected and an actor on each node."""
    ports = ports_of(family(MARK, cluster.environment[MARK]))
    return [row for port in ports if (row := ask(port, cluster.token)) is not None]


@pytest.mark.system
def test_no_port_of_a_head_or_worker_answers_without_the_token_save_health_and_the_index_page(rows: list[Row]) -> None:
    assert {row.service.name: row.leaks for row in rows if row.leaks} == {}
    refusals = {"gRPC": ("UNAUTHENTICATED",) * 2, "HTTP": ("401", "403")}
    assert all(row.answers[:2] == refusals[row.service.protocol] for row in rows), rows


@pytest.mark.system
def test_the_readme_tells_every_port_that_listens(rows: list[Row]) -> None:
    told = README.read_text()
    assert [line for line in table(rows) if line not in told] == [], "\n".join(table(rows))
    assert len(table(rows)) == 8


@pytest.mark.system
def test_a_worker_without_the_heads_token_is_refused_before_it_starts(cluster: Cluster, tmp_path: Path) -> None:
    own = {**cluster.environment, "HOME": str(tmp_path)}
    with (
        account(**own),
        pytest.raises(ClusterError, match=f"{tmp_path}/.ray/auth_token: there is no token, and a worker needs the"),
    ):
        start_node(cluster.address, [], None)
    with (
        account(**own, RAY_AUTH_TOKEN=WRONG),
        pytest.raises(ClusterError, match=f"the head at {cluster.address} refused the token"),
    ):
        start_node(cluster.address, [], None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_a_driver_joins_with_the_token_and_is_told_what_is_wrong_without(
    cluster: Cluster, joined: Watched, tmp_path: Path
) -> None:
    assert joined.lines[0].startswith(f"Ray at {cluster.address}: 2 nodes, 2 CPUs")
    for variables, told in (
        ({}, "wants a token and there is none. Put"),
        ({"RAY_AUTH_TOKEN": WRONG}, "the head refused the one found"),
        ({"RAY_AUTH_MODE": "disabled"}, "wants a token, but RAY_AUTH_MODE=disabled"),
    ):
        with account(HOME=str(tmp_path), **variables), pytest.raises(ClusterError) as refused:
            find_head(cluster.address)
        assert told in str(refused.value)
        assert WRONG not in str(refused.value)


@pytest.mark.system
def test_ray_works_in_a_folder_that_other_accounts_cannot_enter(cluster: Cluster) -> None:
    for temporary in cluster.temporary:
        closed = temporary / f"tunefleet-{os.getuid()}"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        (session,) = temporary.rglob("session_latest")
        assert session.resolve().is_relative_to(closed)


@pytest.mark.system
def test_auto_finds_the_head_that_tunefleet_started(cluster: Cluster) -> None:
    with account(**cluster.environment):
        assert find_head("auto")[:2] == (cluster.address, "token")


KEYED = """
from trainables import report

def train(params, *, spec):
    from huggingface_hub import get_token
    report({"accuracy": 1.0 if get_token() else 0.0}, epoch=1)
"""
KEYED_SPEC = """
name: keyed
task: reviews
trainable: keyed:train
epochs: 1
space: {learning_rate: {choice: [1.0e-5, 2.0e-5, 3.0e-5, 4.0e-5]}}
strategies: [{kind: grid}]
cluster: {gpus_per_trial: 0, storage: ~/runs}
wandb: {mode: online, key_file: ~/wandb_key}
"""


@pytest.mark.system
def test_keys_reach_who_needs_them_on_the_nodes_and_nothing_that_is_written_or_told(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "keyed.py").write_text(KEYED)
    (tmp_path / "spec.yaml").write_text(KEYED_SPEC)
    RefusingServer.shown.clear()
    with account(HOME=str(tmp_path), RAY_AUTH_TOKEN=cluster.token, **SUBMITTERS):
        status = main(["submit", "spec.yaml", "--wait", "--address", cluster.dashboard])
        submitter = "".join(capsys.readouterr())
    assert status == 0, submitter
    assert main(["results", "keyed", "--storage", str(cluster.home / "runs"), "--json"]) == 0
    # Every trial, on either node, found the hub's token.
    assert capsys.readouterr().out.count('"accuracy": 1.0') >= 4
    shown = {base64.b64decode(header.removeprefix("Basic ")) for header in RefusingServer.shown if header}
    assert shown == {b"api:" + SECRETS["wandb_key"].encode()}

    paths = ["/api/jobs/", *(f"/api/v0/{what}" for what in STATE)]
    told = {path: get(cluster.dashboard + path, cluster.token) for path in paths}
    told |= {"the submitter": submitter.encode()}
    written = dict(contents(cluster.home, *cluster.temporary, tmp_path))
    assert len(written) > 100, "the search found next to nothing to search"
    everything = {**told, **written}
    assert {"/api/jobs/", "the submitter"} <= {name for name, text in everything.items() if b"keyed" in text}
    files = {str(cluster.home / name) for name in (*SECRETS, ".ray/auth_token")}
    for secret in (*SECRETS.values(), VARIABLE, *SUBMITTERS.values(), cluster.token):
        found = {name for name, text in everything.items() if any(form in text for form in forms(secret.encode()))}
        assert found <= files, f"{secret[:10]}...: {found - files}"
        assert found or secret not in {*SECRETS.values(), cluster.token}  # the search can find


STATE = ("actors", "jobs", "nodes", "objects", "placement_groups", "runtime_envs", "tasks", "workers")


def get(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def contents(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the content of every file below a folder, and of files in archives."""
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path), data
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{path}/{name}", archive.read(name)) for name in archive.namelist())
        elif data.startswith(b"\x1f\x8b"):
            yield f"{path}/", gzip.decompress(data)


def forms(secret: bytes) -> Iterator[bytes]:
    """Returns the secret itself, and its base64 forms at every offset."""
    yield secret
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret + b"xx")
        yield encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]


@pytest.mark.unit
def test_a_secret_is_found_wherever_it_stands_in_a_base64_text() -> None:
    secret = SUBMITTERS["HF_TOKEN"].encode()
    for before in range(5):
        text = base64.b64encode(b"p" * before + secret + b"suffix")
        assert sum(form in text for form in forms(secret)) == 1
