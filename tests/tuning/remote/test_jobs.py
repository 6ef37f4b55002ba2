"""Experiments as jobs of a cluster elsewhere: one head with token authentication, and a client in another folder."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cluster.capacity import ClusterError
from cluster.jobs.dashboard import open_dashboard
from cluster.jobs.submission import Jobs
from tests.support.certificates import certify
from tests.support.drivers import Watched
from tests.support.joining import account, clean_environment
from tests.support.proxies import DEAD
from tests.support.raylets import PORTS, first_of_free_ports
from tests.support.serving import serving
from tests.support.specs import user_trainer_fields
from tuning.cli import main
from tuning.remote.submission import prepare_submission, submit
from tuning.run_folder.experiments import load_experiment
from tuning.spec.loading import load_spec
from tuning.user_trainer.prepared_search import prepare_search
from tuning.user_trainer.request import SearchRequest

pytestmark = pytest.mark.system

TOKEN = "0123456789abcdef" * 4
DATA = "text,label\nfine,1\n"
SPEC = {
    "name": "own",
    "task": "text_classification",
    "trainable": "own_job:train",
    "data": {"path": "rows.csv", "text": ["text"], "label": "label"},
    "epochs": 2,
    "space": {"learning_rate": {"choice": [0.1, 0.2]}},
    "strategies": [{"kind": "grid"}],
}

# Of a terminal, also where this process was started in the background, whose children are deaf to Ctrl-C.
CLIENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from tuning.cli import main
sys.exit(main())
"""


class Cluster(NamedTuple):
    """A head with its dashboard, as one account runs it."""

    url: str
    home: Path
    logs: Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Starts a head with two logical GPUs and a token, whose PATH does not lead to Ray's interpreter."""
    folder = Path(tempfile.mkdtemp(prefix="tfj", dir="/tmp"))
    (folder / "home").mkdir()
    base = first_of_free_ports(100)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={base + offset}" for offset, name in enumerate(PORTS, start=3)]
    command += [f"--port={base}", f"--ray-client-server-port={base + 1}", f"--dashboard-port={base + 2}"]
    command += [f"--min-worker-port={base + 10}", f"--max-worker-port={base + 99}", f"--temp-dir={folder / 'r'}"]
    command += ["--num-cpus=4", "--num-gpus=2"]
    own = {"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=clean_environment(**own)
        )
    url = f"http://127.0.0.1:{base + 2}"
    try:
        until = time.monotonic() + 180
        while not takes_jobs(url):
            assert process.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < until, f"{url} takes no jobs: {(folder / 'head.log').read_text()}"
            time.sleep(0.2)
        yield Cluster(url, folder / "home", folder / "r" / "session_latest" / "logs")
    finally:
        process.terminate()
        process.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the dashboard's own processes outlive it by a moment
        shutil.rmtree(folder, ignore_errors=True)


def takes_jobs(url: str) -> bool:
    """True if a job can be submitted now: the head's agent is up, too."""
    with account(RAY_AUTH_TOKEN=TOKEN):
        try:
            return open_dashboard(url).python() != "python"
        except ClusterError:
            return False


def sit_down(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Works in a folder with a spec, its data and its trainable, apart from the checkout and the cluster's home.

    A proxy is named in every way, and is dead: the cluster is at an address of this machine, as at the end of a tunnel.
    """
    folder.mkdir()
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    patch.setenv("HOME", str(folder.parent))
    patch.setenv("RAY_AUTH_TOKEN", TOKEN)
    patch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        patch.setenv(name, DEAD)
        patch.setenv(name.upper(), DEAD)
    for name in ("no_proxy", "NO_PROXY", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS"):
        patch.delenv(name, raising=False)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    (folder / "rows.csv").write_text(DATA)
    shutil.copy(Path(__file__).parents[2] / "support" / "own_job.py", folder)


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sit_down(tmp_path / "laptop", monkeypatch)
    return tmp_path / "laptop"


@pytest.fixture(scope="module")
def finished(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Submits the experiment `own` and waits for its end; returns both output streams."""
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        sit_down(tmp_path_factory.mktemp("first") / "laptop", patch)
        patch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # Ray's own client would go there instead
        status = send(cluster, "--wait")
    assert status == 0, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def send(cluster: Cluster, *words: str) -> int:
    return main(["submit", "spec.yaml", "--address", cluster.url, *words])


def jobs_of(cluster: Cluster) -> Jobs:
    return Jobs(open_dashboard(cluster.url))


@pytest.mark.smoke
def test_an_experiment_goes_there_with_its_data_and_code_and_comes_back_with_its_weights(
    cluster: Cluster, finished: tuple[str, str], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = finished
    assert "2/0/0" in out  # both trials, as the run itself printed it
    assert "succeeded" in err
    assert (cluster.home / "runs/own/study.db").is_file()
    assert main(["fetch", "own", "--address", cluster.url, "--to", "mine"]) == 0
    assert {path.name for path in (laptop / "mine").iterdir()} == {"own"}
    assert json.loads((laptop / "mine/own/best/state.json").read_text()) == {"epoch": 2}
    assert "learning_rate" in (laptop / "mine/own/best/best.yaml").read_text()
    assert "| grid | 0.7500" in (laptop / "mine/own/comparison.md").read_text()
    assert not list((laptop / "mine").rglob("*.pkl"))
    assert not list(cluster.logs.glob("tunefleet-*"))
    capsys.readouterr()
    assert main(["results", "own", "--storage", "mine", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    assert [len(trial["reports"]) for trial in there["studies"][0]["trials"]] == [2, 2]
    assert there == json.loads((laptop / "mine/own/results.json").read_text())
    assert main(["jobs", "--address", cluster.url]) == 0
    states = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert {state for job, state in states.items() if job.startswith("own-")} == {"succeeded"}
    assert not [job for job in states if job.startswith("fetch-")]


def test_an_experiment_that_ran_there_is_extended_there_once_and_comes_back(
    cluster: Cluster, finished: tuple[str, str], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_experiment("own", cluster.home / "runs")[0].studies
    more = ["seeds=[0, 1]", "--extend"]
    assert send(cluster, *more, "--wait") == 0, capsys.readouterr().err
    assert "-extend: submitted to" in capsys.readouterr().out
    assert send(cluster, *more) == 0
    assert "-extend: already submitted; succeeded" in capsys.readouterr().out
    assert main(["fetch", "own", "--address", cluster.url]) == 0
    after, spec = load_experiment("own", laptop / "runs")
    assert (after.studies[:1], [study.seed for study in after.studies]) == (before, [0, 1])
    assert load_spec(laptop / "runs/own/spec.yaml").extended == load_spec(yaml.safe_load(spec)).extended != ()


def test_a_trainer_of_ones_own_goes_there_with_its_module_and_comes_back_with_its_weights(
    cluster: Cluster, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Path(__file__).parents[2] / "support" / "user_trainers.py", laptop / "trainer_of_mine.py")
    spec = user_trainer_fields(
        "~/runs", name="trainer", trainable="trainer_of_mine:make_trainer", epochs=1,
        strategies=[{"kind": "grid", "points": 1}],
    )  # fmt: skip
    (laptop / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert send(cluster, "--wait") == 0, capsys.readouterr().err
    assert "2/0/0" in capsys.readouterr().out
    assert main(["fetch", "trainer", "--address", cluster.url, "--to", "mine"]) == 0
    assert {"weights.safetensors", "best.yaml"} <= {path.name for path in (laptop / "mine/trainer/best").iterdir()}
    capsys.readouterr()
    assert main(["results", "trainer", "--storage", "mine", "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)["studies"]
    assert study["test"]["rows"] == 32


def test_a_search_from_python_goes_there_with_all_that_it_has_shipped(
    cluster: Cluster, laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is submitted by `tunefleet submit runs/NAME/spec.yaml`, with a module that only this machine has."""
    shutil.copy(Path(__file__).parents[2] / "support" / "user_trainers.py", laptop / "trainers_here_alone.py")
    monkeypatch.delitem(sys.modules, "trainers_here_alone", raising=False)
    mine = importlib.import_module("trainers_here_alone")

    def hp_space(trial: Any) -> dict[str, Any]:
        return {"learning_rate": 10 ** trial.suggest_float("log_rate", -3, -2)}

    asked = SearchRequest(
        mine.trainer({"output_dir": "out", "num_train_epochs": 1}), hp_space, None, 2, None, None,
        keywords={"name": "from-python", "storage": str(laptop / "runs")}, cluster={"gpus_per_trial": 0},
    )  # fmt: skip
    (laptop / "spec.yaml").write_text(prepare_search(asked).spec.to_yaml())
    words = ["cluster.storage=~/runs", "--wait"]
    assert send(cluster, *words) == 0, capsys.readouterr().err
    assert "2/0/0" in capsys.readouterr().out
    assert len(list((cluster.home / "runs/.uploads").glob("*/*.arrow"))) >= 2  # rows of both splits


def test_ten_equal_submissions_are_one_job_that_outlives_its_client_stops_in_order_and_goes_on_where_it_was(
    cluster: Cluster, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["name=long", "epochs=12"]
    submission = prepare_submission("spec.yaml", overrides, [])
    beside = cluster.home / "runs/.uploads" / Path(submission.uploads[0].target).parent
    beside.mkdir(parents=True, exist_ok=True)
    gate, epochs = beside / "gate", beside / "epochs"
    epochs.unlink(missing_ok=True)  # of another job, which uploaded the same file
    gate.write_text("4")
    try:
        doors = [(jobs_of(cluster), laptop / f"{number}.zip") for number in range(10)]
        with ThreadPoolExecutor(10) as pool:
            sent = list(pool.map(lambda door: submit(submission, *door, resume=False, say=print), doors))
        assert sum(new for _, new in sent) == 1
        assert {record.id for record, _ in sent} == {submission.id}

        assert_ctrl_c_ends_the_waiting_alone(cluster, overrides)
        assert main(["status", "long", "--address", cluster.url]) == 0
        assert ": running" in capsys.readouterr().out
        wait_for_epochs(cluster, submission.id, epochs, 8)  # then either trial waits at the gate
        assert main(["stop", "long", "--address", cluster.url]) == 0
    finally:
        gate.unlink()
    assert "stopped after" in capsys.readouterr().out
    log = doors[0][0].log(submission.id)
    assert "stopped with 0 of 2 trials ended; everything is kept; go on with the same `tunefleet submit`" in log
    rays_word = (cluster.logs / "jobs" / f"supervisor-{submission.id}.log").read_text()
    assert "terminated gracefully with SIGINT" in rays_word  # not killed after Ray's three seconds for SIGTERM

    assert send(cluster, *overrides) == 0
    assert "already submitted; stopped" in capsys.readouterr().out
    assert send(cluster, *overrides, "--resume", "--wait") == 0
    assert f"{submission.id}-r1: submitted" in capsys.readouterr().out
    passes = Counter(epochs.read_text().splitlines())
    assert len(passes) == 24
    for rate in ("0.1", "0.2"):
        assert sum(passes[f"{rate} {epoch}"] for epoch in range(1, 13)) <= 13  # one epoch repeated at most
    assert send(cluster, *overrides, "--resume") == 0
    assert f"{submission.id}-r1: already submitted; succeeded" in capsys.readouterr().out


def assert_ctrl_c_ends_the_waiting_alone(cluster: Cluster, overrides: Sequence[str]) -> None:
    command = [sys.executable, "-c", CLIENT, "submit", "spec.yaml", "--address", cluster.url, *overrides, "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        client = Watched(process)
        assert client.wait_until(lambda: any(" epoch " in line for line in client.lines))  # the job's log has arrived
        process.send_signal(signal.SIGINT)
        assert client.end() == 130
    assert "keeps running" in client.errors
    assert "Traceback" not in client.errors


def wait_for_epochs(cluster: Cluster, job: str, epochs: Path, count: int) -> None:
    until = time.monotonic() + 240
    while not epochs.is_file() or len(epochs.read_text().splitlines()) < count:
        assert not jobs_of(cluster).get(job).over, jobs_of(cluster).log(job)
        assert time.monotonic() < until, f"{job} has not trained {count} epochs: {jobs_of(cluster).log(job)}"
        time.sleep(0.1)


@pytest.fixture
def https(cluster: Cluster, laptop: Path) -> Iterator[tuple[str, Path]]:
    """Returns the address of the cluster behind a TLS proxy, and the proxy's certificate."""
    certificate, key = laptop / "certificate.pem", laptop / "key.pem"
    certify("localhost", certificate, key)
    with behind_tls(cluster.url, certificate, key) as port:
        yield f"https://localhost:{port}", certificate


def test_over_https_a_run_whose_trials_all_failed_is_a_failed_job_with_the_runs_own_exit_status(
    https: tuple[str, Path], laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, certificate = https
    (laptop / "rows.csv").write_text("nothing")
    assert main(["submit", "spec.yaml", "--address", url, "name=lost"]) == 1
    assert "certificate" in capsys.readouterr().err
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert main(["submit", "spec.yaml", "--address", url, "name=lost", "--wait"]) == 1
    told = capsys.readouterr()
    assert "every trial failed" in told.out
    assert "failed, exit status 1" in told.err
    assert "plain" not in told.err


def test_over_https_an_experiment_comes_back(
    https: tuple[str, Path], finished: tuple[str, str], laptop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = https
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert main(["fetch", "own", "--address", url]) == 0
    assert (laptop / "runs/own/results.json").is_file()


def test_more_than_the_head_takes_is_reported_when_it_says_so(
    cluster: Cluster, laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tuning.remote.submission.UPLOAD_LIMIT", 1 << 30)  # as if a newer Ray took more than this one
    (laptop / "rows.csv").write_bytes(os.urandom(101 << 20))
    assert send(cluster, "name=heavy") == 1
    assert "takes at most 100 MiB in one upload" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("token", "told"),
    [("f" * 64, "refused the token that was found"), (None, "wants a token and there is none")],
)
def test_a_refused_token_is_distinguished_from_a_missing_one(
    cluster: Cluster,
    token: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    else:
        monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert send(cluster, "name=stranger") == 1
    error = capsys.readouterr().err
    assert told in error
    assert "f" * 64 not in error


def test_a_trial_that_no_node_can_hold_is_refused_before_anything_is_sent(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(cluster, "name=large", "cluster.cpus_per_trial=64") == 1
    assert "cluster.cpus_per_trial: 64, but the largest node has 4 CPUs" in capsys.readouterr().err
    assert "large" not in {job.metadata["experiment"] for job in jobs_of(cluster).list()}


def test_an_unknown_job_is_reported_with_the_nearest_one(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "logs", "stop", "fetch"):
        assert main([command, "nothing", "--address", cluster.url]) == 1
        assert "ID: nothing: no such job" in capsys.readouterr().err


@contextlib.contextmanager
def behind_tls(url: str, certificate: Path, key: Path) -> Iterator[int]:
    """Returns the port of a TLS proxy that passes everything on to `url`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    target = url.removeprefix("http://").split(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection((target[0], int(target[1]))) as inside,
            ):
                back = threading.Thread(target=pass_on, args=(inside, outside), daemon=True)
                back.start()
                pass_on(outside, inside)
                back.join()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server):
        yield server.server_address[1]
