"""Strangers and secrets: what a cluster answers without its token, what is refused, and where no key may be found."""

from __future__ import annotations

import base64
import gzip
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request
import uuid
import zipfile
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from cluster.capacity import ClusterError
from cluster.head import Machine, mind_the_open_door
from cluster.private import ray_folder, token_source
from cluster.start import exposed_dashboard, start_node
from tests.support.heads import clean_environment, drive, free_ports
from tests.support.port_table import Row, ask, family, ports_of, table
from tests.support.refusing_server import RefusingServer

TUNEFLEET = str(Path(sys.executable).with_name("tunefleet"))
README = Path(__file__).parents[3] / "cluster" / "README.md"
MARK = "TUNEFLEET_TEST_CLUSTER"
# Canaries, as long as such keys are: files in the home folder of the nodes, and a variable of theirs.
SECRETS = {"wandb_key": "decade11" * 5, ".cache/huggingface/token": "hf_" + "Canary7" * 5}
VARIABLE = "beaded22" * 5
SUBMITTERS = {"WANDB_API_KEY": "faced033" * 5, "HF_TOKEN": "hf_" + "Parrot9" * 5}


class Cluster(NamedTuple):
    """A head and a worker that `tunefleet cluster start` made, and a driver with an actor on each."""

    address: str
    dashboard: str
    home: Path
    temporary: tuple[Path, Path]  # of the head, of the worker
    environment: dict[str, str]
    token: str


def tunefleet(*arguments: str, folder: Path = Path("/"), **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TUNEFLEET, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=folder,
        env=clean_environment(**environment),
    )


ACTORS = """
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
@ray.remote(num_cpus=0)
class Busy:
    def work(self):
        return None
on = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
busy = [Busy.options(scheduling_strategy=on(node["NodeID"], soft=False)).remote() for node in ray.nodes()]
assert len(ray.get([actor.work.remote() for actor in busy])) == 2
print("busy", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def wandb_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def cluster(wandb_server: str) -> Iterator[Cluster]:
    """One for all tests of this file; stopped, and gone without a process left, at the end."""
    base, mark = free_ports(20), uuid.uuid4().hex
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
            head = tunefleet(
                *("cluster", "start", "--head", "--"),
                *(*ours, agents[0], f"--port={base}", f"--dashboard-port={base + 1}"),
                **environment,
            )
            assert head.returncode == 0, head.stderr
            address = next(word for word in head.stdout.split() if word.endswith(f":{base};"))[:-1]
            token = (home / ".ray" / "auth_token").read_text()
            assert token not in head.stdout + head.stderr
            # A folder of its own, as another machine would have: two nodes clean up after each other in one.
            elsewhere = {**environment, "TMPDIR": str(workers)}
            worker = tunefleet("cluster", "start", "--address", address, "--", *ours, agents[1], **elsewhere)
            assert worker.returncode == 0, worker.stderr
            yield Cluster(address, f"http://127.0.0.1:{base + 1}", home, (temporary, workers), environment, token)
        finally:
            started = family(MARK, mark)
            stopped = tunefleet("cluster", "stop", **environment)
        assert stopped.stdout == "2 nodes stopped\n", stopped.stderr
        assert len(started) > 15
        _, alive = psutil.wait_procs(started, timeout=10)
        assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.fixture(scope="module")
def rows(cluster: Cluster) -> Iterator[list[Row]]:
    """What every port of the cluster answered, with a driver connected and an actor on each node."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{ACTORS}", cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(**cluster.environment, RAY_AUTH_MODE="token"),
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "busy\n"
        found = ports_of(family(MARK, cluster.environment[MARK]))
        yield [ask(port, cluster.token) for port in found]
        driver.stdin.close()  # type: ignore[union-attr]


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
    environment = {**cluster.environment, "HOME": str(tmp_path)}
    join = ("cluster", "start", "--address", cluster.address)
    none = tunefleet(*join, **environment)
    assert f"{tmp_path}/.ray/auth_token: there is no token, and a worker needs the head's own" in none.stderr
    wrong = tunefleet(*join, **environment, RAY_AUTH_TOKEN="f" * 64)
    assert f"the head at {cluster.address} refused the token" in wrong.stderr
    assert none.returncode == wrong.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_ray_works_in_a_folder_that_other_accounts_cannot_enter(cluster: Cluster) -> None:
    for temporary in cluster.temporary:
        closed = temporary / f"tunefleet-{os.getuid()}"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        (session,) = temporary.rglob("session_latest")
        assert session.resolve().is_relative_to(closed)


@pytest.mark.system
def test_auto_finds_the_head_that_tunefleet_started(cluster: Cluster) -> None:
    find = "from cluster.head import find_head; print(*find_head('auto')[:2])"
    found = drive(find, "", "", **cluster.environment)
    assert found.stdout.split() == [cluster.address, "token"], found.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its own, and none of the variables that name a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.unit
def test_a_new_token_is_closed_to_others_from_its_first_instant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = [], os.open

    def watched(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real(path, flags, mode)
        opened.append((flags & os.O_EXCL, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        source = token_source(make=True)
    finally:
        os.umask(before)
    assert source == (home / ".ray" / "auth_token", True)
    assert opened == [(os.O_EXCL, 0o600)]
    assert stat.S_IMODE((home / ".ray").stat().st_mode) == 0o700
    text = (home / ".ray" / "auth_token").read_text()
    assert len(bytes.fromhex(text)) == 32
    assert token_source(make=True) == (home / ".ray" / "auth_token", False)
    assert (home / ".ray" / "auth_token").read_text() == text


@pytest.mark.unit
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_can_read_is_refused_and_not_closed_quietly(mode: int, home: Path) -> None:
    file = home / "token"
    file.write_text("f" * 64)
    file.chmod(mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
        with pytest.raises(ClusterError, match=f"{file}: mode {mode:04o}, but nobody else may read a token.*chmod 600"):
            token_source(make=True)
    assert stat.S_IMODE(file.stat().st_mode) == mode


@pytest.mark.unit
def test_an_empty_token_is_refused(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").touch(mode=0o600)
    with pytest.raises(ClusterError, match=r"holds no token\. Delete it"):
        token_source(make=True)


@pytest.mark.unit
def test_a_folder_for_ray_that_somebody_else_made_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(home))
    assert ray_folder(make=True) == home / f"tunefleet-{os.getuid()}" / "ray"
    (home / f"tunefleet-{os.getuid()}").chmod(0o755)
    for make in (True, False):  # to read from: where `auto` sends the token
        with pytest.raises(ClusterError, match=r"is not a folder of this account's alone \(mode 0700\)"):
            ray_folder(make=make)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("options", "host"),
    [
        ([], None),
        (["--dashboard-host=127.0.0.1"], None),
        (["--dashboard-host", "0.0.0.0", "--num-cpus=1"], "0.0.0.0"),
        (["--num-cpus=1", "--dashboard-host=::"], "::"),
    ],
)
def test_a_dashboard_that_others_reach_is_seen_in_either_spelling(options: list[str], host: str | None) -> None:
    assert exposed_dashboard(options) == host


@pytest.mark.unit
def test_what_would_undo_the_defaults_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="--address: after `--` stand only other options"):
        start_node(None, ["--address=head:6379"], None)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="RAY_AUTH_MODE: disabled, but `tunefleet cluster start` starts only what"):
        start_node(None, [], None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_START_HOOK", "theirs.hook")
    with pytest.raises(ClusterError, match=r"RAY_START_HOOK: theirs\.hook, but `tunefleet cluster start` closes ports"):
        start_node(None, [], None)
    assert list(home.iterdir()) == []


HERE = Machine(socket.gethostname(), "127.0.0.1")


@pytest.mark.unit
def test_a_head_looks_for_lost_nodes_more_often_than_rays_own_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    started: list[dict[str, str]] = []

    class Started(Exception):
        """In place of becoming Ray's process."""

    def become(path: str, command: list[str], environment: dict[str, str]) -> None:
        started.append(environment)
        raise Started

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for given in (None, "500"):
        if given is not None:
            monkeypatch.setenv("RAY_health_check_period_ms", given)
        with pytest.raises(Started):
            start_node(None, ["--block"], None)
    assert [environment["RAY_health_check_period_ms"] for environment in started] == ["2000", "500"]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("address", "machines", "stranger"),
    [
        ("127.0.0.1:6379", {HERE}, None),
        ("127.0.0.1:6379", {HERE, Machine("other", "203.0.113.7")}, r"other \(203.0.113.7\)"),
        ("127.0.0.1:6379", {HERE._replace(address="203.0.113.7")}, r"\(203.0.113.7\)"),  # a name that two machines have
        ("203.0.113.7:6379", {HERE}, "203.0.113.7:6379"),  # a tunnel's other end
    ],
)
def test_a_cluster_without_a_token_is_joined_on_this_machine_alone_unless_the_user_insists(
    address: str, machines: set[Machine], stranger: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if stranger is not None:
        with pytest.raises(ClusterError, match=f"runs code on .*{stranger}.*cluster.allow_unauthenticated=true"):
            mind_the_open_door(address, machines, allowed=False)
        assert capsys.readouterr().err == ""
    mind_the_open_door(address, machines, allowed=stranger is not None)
    assert "asks for no token and listens on all interfaces" in capsys.readouterr().err


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
    cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / "keyed.py").write_text(KEYED)
    (tmp_path / "spec.yaml").write_text(KEYED_SPEC)
    submitter = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN": cluster.token, **SUBMITTERS}
    RefusingServer.shown.clear()
    submitted = tunefleet("submit", "spec.yaml", "--wait", "--address", cluster.dashboard, folder=tmp_path, **submitter)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    scores = tunefleet("results", "keyed", "--storage", str(cluster.home / "runs"), "--json")
    # Every trial, on either node, found the hub's token.
    assert scores.stdout.count('"accuracy": 1.0') >= 4, scores.stdout
    shown = {base64.b64decode(header.removeprefix("Basic ")) for header in RefusingServer.shown if header}
    assert shown == {b"api:" + SECRETS["wandb_key"].encode()}

    paths = ["/api/jobs/", *(f"/api/v0/{what}" for what in STATE)]
    told = {path: get(cluster.dashboard + path, cluster.token) for path in paths}
    told |= {"the submitter": (submitted.stdout + submitted.stderr).encode()}
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
    """Every file below, and what compressed ones hold."""
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
    """The secret itself, and its part of a base64 text whatever stands before it."""
    yield secret
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret + b"xx")
        yield encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]


@pytest.mark.system
def test_a_secret_is_found_wherever_it_stands_in_a_base64_text() -> None:
    secret = SUBMITTERS["HF_TOKEN"].encode()
    for before in range(5):
        text = base64.b64encode(b"p" * before + secret + b"suffix")
        assert sum(form in text for form in forms(secret)) == 1
