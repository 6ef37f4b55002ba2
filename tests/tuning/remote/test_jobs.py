"""Experiments as jobs of a cluster elsewhere: one head with token authentication, and a client in another folder."""

from __future__ import annotations

import contextlib
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from cluster.capacity import ClusterError
from cluster.dashboard import dashboard_url, open_dashboard
from cluster.jobs import Jobs
from tests.support.heads import NODE_PORTS, clean_environment, free_ports
from tuning import cli
from tuning.jobs.submission import Submission, prepare, send

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


class Cluster(NamedTuple):
    """A head with its dashboard, as one account runs it."""

    url: str
    home: Path
    logs: Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two logical GPUs, a token, and a PATH that does not lead to the interpreter that Ray runs on."""
    folder = Path(tempfile.mkdtemp(prefix="tfj", dir="/tmp"))
    (folder / "home").mkdir()
    base = free_ports(100)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--{name}={base + offset}" for offset, name in enumerate(NODE_PORTS, start=3)]
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
        until = time.monotonic() + 120
        while not _answers(url):
            assert process.poll() is None, (folder / "head.log").read_text()
            assert time.monotonic() < until, (folder / "head.log").read_text()
            time.sleep(0.5)
        yield Cluster(url, folder / "home", folder / "r" / "session_latest" / "logs")
    finally:
        process.terminate()
        process.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the dashboard's own processes outlive it by a moment
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    """Whether a job could be submitted now: the head's agent is up, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        try:
            return open_dashboard(url).python() != "python"
        except ClusterError:
            return False


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec, its data and its trainable; no part of the checkout, and no part of the cluster's home."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    (folder / "rows.csv").write_text(DATA)
    shutil.copy(Path(__file__).parents[2] / "support" / "own_job.py", folder)
    return folder


def submit(cluster: Cluster, *words: str) -> int:
    return cli.main(["submit", "spec.yaml", "--address", cluster.url, *words])


def jobs_of(cluster: Cluster) -> Jobs:
    return Jobs(open_dashboard(cluster.url))


@pytest.mark.system
def test_an_experiment_goes_there_with_its_data_and_code_and_comes_back_with_its_weights(
    cluster: Cluster, laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # Ray's own client would go there instead
    assert submit(cluster, "--wait") == 0
    told = capsys.readouterr()
    assert "2/0/0" in told.out  # both trials, as the run itself printed it
    assert "succeeded" in told.err
    assert (cluster.home / "runs/own/study.db").is_file()
    assert cli.main(["fetch", "own", "--address", cluster.url, "--to", "mine"]) == 0
    assert {path.name for path in (laptop / "mine").iterdir()} == {"own"}
    assert json.loads((laptop / "mine/own/best/state.json").read_text()) == {"epoch": 2}
    assert "learning_rate" in (laptop / "mine/own/best/best.yaml").read_text()
    assert "| grid | 0.7500" in (laptop / "mine/own/comparison.md").read_text()
    assert not list((laptop / "mine").rglob("*.pkl"))
    assert not list(cluster.logs.glob("tunefleet-*"))
    capsys.readouterr()
    assert cli.main(["results", "own", "--storage", "mine", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    assert [len(trial["reports"]) for trial in there["studies"][0]["trials"]] == [2, 2]
    assert there == json.loads((laptop / "mine/own/results.json").read_text())
    assert cli.main(["jobs", "--address", cluster.url]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["STATE", "succeeded"]


@pytest.mark.system
def test_ten_equal_submissions_are_one_job_that_stops_in_order_and_goes_on_where_it_was(
    cluster: Cluster, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["name=long", "epochs=12"]
    submission = prepare("spec.yaml", overrides, [])
    doors = [(jobs_of(cluster), laptop / f"{number}.zip") for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        sent = list(pool.map(lambda door: send(submission, *door, resume=False, say=print), doors))
    assert sum(new for _, new in sent) == 1
    assert {record.id for record, _ in sent} == {submission.id}

    epochs = stopped_after_four_epochs(cluster, submission)
    assert "stopped after" in capsys.readouterr().out
    log = doors[0][0].log(submission.id)
    assert "stopped with 0 of 2 trials ended; everything is kept; go on with the same `tunefleet submit`" in log
    rays_word = (cluster.logs / "jobs" / f"supervisor-{submission.id}.log").read_text()
    assert "terminated gracefully with SIGINT" in rays_word  # not killed after Ray's three seconds for SIGTERM

    assert submit(cluster, *overrides) == 0
    assert "already submitted; stopped" in capsys.readouterr().out
    assert submit(cluster, *overrides, "--resume", "--wait") == 0
    assert f"{submission.id}-r1: submitted" in capsys.readouterr().out
    passes = Counter(epochs.read_text().splitlines())
    assert len(passes) == 24
    for rate in ("0.1", "0.2"):
        assert sum(passes[f"{rate} {epoch}"] for epoch in range(1, 13)) <= 13  # one epoch repeated at most
    assert submit(cluster, *overrides, "--resume") == 0
    assert f"{submission.id}-r1: already submitted; succeeded" in capsys.readouterr().out


def stopped_after_four_epochs(cluster: Cluster, submission: Submission) -> Path:
    """Stop the job that was just submitted; the file in which its trials write down their epochs."""
    epochs = cluster.home / "runs/.uploads" / Path(submission.uploads[0].target).parent / "epochs"
    epochs.unlink(missing_ok=True)  # of the test before, which uploaded the same file
    while not epochs.is_file() or len(epochs.read_text().splitlines()) < 4:
        assert not jobs_of(cluster).get(submission.id).over, jobs_of(cluster).log(submission.id)
        time.sleep(0.2)
    assert cli.main(["stop", submission.spec.name, "--address", cluster.url]) == 0
    return epochs


@pytest.mark.system
def test_other_code_goes_on_with_a_stopped_job_only_by_force(
    cluster: Cluster, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["name=edited", "epochs=12"]
    assert submit(cluster, *overrides) == 0
    epochs = stopped_after_four_epochs(cluster, prepare("spec.yaml", overrides, []))
    with (laptop / "own_job.py").open("a") as code:
        code.write("# in another way\n")
    assert submit(cluster, *overrides, "--resume", "--wait") != 0
    told = capsys.readouterr()
    assert "--force" in told.out + told.err
    assert submit(cluster, *overrides, "--resume", "--force", "--wait") == 0
    assert "2/0/0" in capsys.readouterr().out
    assert 24 <= len(epochs.read_text().splitlines()) <= 26  # one epoch of each trial repeated at most


@pytest.mark.system
def test_a_run_whose_trials_all_failed_is_a_failed_job_with_the_runs_own_exit_status(
    cluster: Cluster, laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (laptop / "rows.csv").write_text("nothing")
    assert submit(cluster, "name=lost", "--wait") == 1
    told = capsys.readouterr()
    assert "every trial failed" in told.out
    assert "failed, exit status 1" in told.err


@pytest.mark.system
def test_a_run_some_of_whose_trials_failed_is_a_success_with_a_caveat(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(cluster, "name=half", "space.learning_rate={choice: [0.1, 1.0]}", "--wait") == 0
    told = capsys.readouterr()
    assert "1 of 2 trials failed" in told.out
    assert "succeeded" in told.err


@pytest.mark.system
def test_ctrl_c_ends_the_waiting_and_not_the_job(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tuning.cli", "submit", "spec.yaml", "--address", cluster.url]
    command += ["name=watched", "epochs=200", "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert any(" epoch " in line for line in client.stdout)  # the job's own log has arrived
        client.send_signal(signal.SIGINT)
        _, error = client.communicate(timeout=60)
    assert client.returncode == 130
    assert "goes on without us" in error
    assert "Traceback" not in error
    assert cli.main(["status", "watched", "--address", cluster.url]) == 0
    assert ": running" in capsys.readouterr().out
    assert cli.main(["stop", "watched", "--address", cluster.url]) == 0


@pytest.mark.system
def test_more_than_the_head_takes_is_told_when_it_says_so(
    cluster: Cluster, laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tuning.jobs.submission.UPLOAD_LIMIT", 1 << 30)  # as if a newer Ray took more than this one
    (laptop / "rows.csv").write_bytes(os.urandom(101 << 20))
    assert submit(cluster, "name=heavy") == 1
    assert "takes at most 100 MiB in one upload" in capsys.readouterr().err


@pytest.mark.system
def test_over_https_a_job_goes_there_and_back_without_a_warning(
    cluster: Cluster, laptop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = laptop / "certificate.pem", laptop / "key.pem"
    certify("localhost", certificate, key)
    with behind_tls(cluster.url, certificate, key) as port:
        there = ["--address", f"https://localhost:{port}"]
        assert cli.main(["submit", "spec.yaml", *there, "name=sealed"]) == 1
        assert "certificate" in capsys.readouterr().err
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert cli.main(["submit", "spec.yaml", *there, "name=sealed", "--wait"]) == 0
        told = capsys.readouterr()
        assert "2/0/0" in told.out
        assert "plain" not in told.err
        assert cli.main(["fetch", "sealed", *there]) == 0
    assert (laptop / "runs/sealed/results.json").is_file()


@pytest.mark.system
@pytest.mark.parametrize(
    ("token", "told"),
    [("f" * 64, "refused the token that was found"), (None, "wants a token and there is none")],
)
def test_a_refused_token_is_told_from_a_missing_one(
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
    assert submit(cluster, "name=stranger") == 1
    error = capsys.readouterr().err
    assert told in error
    assert "f" * 64 not in error


@pytest.mark.system
def test_a_trial_that_no_node_can_hold_is_refused_before_anything_is_sent(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(cluster, "name=large", "cluster.cpus_per_trial=64") == 1
    assert "cluster.cpus_per_trial: 64, but the largest node has 4 CPUs" in capsys.readouterr().err
    assert "large" not in {job.metadata["experiment"] for job in jobs_of(cluster).list()}


@pytest.mark.system
def test_an_unknown_job_is_told_with_the_nearest_one(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "logs", "stop", "fetch"):
        assert cli.main([command, "nothing", "--address", cluster.url]) == 1
        assert "ID: nothing: no such job" in capsys.readouterr().err


def certify(name: str, certificate: Path, key: Path) -> None:
    """A certificate of `name` for a day, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


@contextlib.contextmanager
def behind_tls(url: str, certificate: Path, key: Path) -> Iterator[int]:
    """The port of a proxy that speaks TLS outside and passes everything on to `url`, as one before a dashboard does."""
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

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


# Below: what stands at an address without being our cluster.


@contextlib.contextmanager
def standing_in(version: str | None, *, status: int = 200) -> Iterator[int]:
    """The port of an HTTP server that answers /api/version as a Ray of that version does; None: as no Ray."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"ray_version": version}).encode() if version else b"<html>"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def refusal(url: str) -> str:
    with pytest.raises(ClusterError) as caught:
        open_dashboard(url)
    return str(caught.value)


@pytest.mark.unit
def test_another_ray_than_ours_is_told_before_anything_is_sent() -> None:
    with standing_in("2.9.3") as port:
        assert "runs Ray 2.9.3, this machine Ray" in refusal(f"http://127.0.0.1:{port}")


@pytest.mark.unit
def test_what_is_no_dashboard_is_told_as_such() -> None:
    with standing_in(None) as port:
        assert "is no Ray dashboard" in refusal(f"http://127.0.0.1:{port}")
    assert f"no dashboard answers at http://127.0.0.1:{port}" in refusal(f"http://127.0.0.1:{port}")


@pytest.mark.unit
def test_a_cluster_of_others_that_lets_everybody_in_is_refused_unless_one_insists() -> None:
    from importlib.metadata import version

    with standing_in(version("ray")) as port:
        here = f"http://{socket.gethostname()}:{port}"  # a name: nothing says that it is this machine alone
        assert "insist with --allow-unauthenticated" in refusal(here)
        assert open_dashboard(here, allow_unauthenticated=True).token is None
        assert open_dashboard(f"http://127.0.0.1:{port}").headers == {}


@pytest.mark.unit
def test_a_login_that_would_be_sent_in_place_of_the_token_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    (tmp_path / "netrc").write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with standing_in(version("ray"), status=401) as port:
        assert "set NETRC=/dev/null" in refusal(f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NETRC", os.devnull)
        assert "refused the token" in refusal(f"http://127.0.0.1:{port}")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("address", "url"),
    [
        (None, "http://127.0.0.1:8265"),
        ("head", "http://head:8265"),
        ("http://head:80/", "http://head:80"),
        ("https://ray.example.org/team", "https://ray.example.org:443/team"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_an_address_is_completed(address: str | None, url: str) -> None:
    assert dashboard_url(address) == url


@pytest.mark.unit
def test_the_address_may_come_from_rays_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://there:1")
    assert dashboard_url(None) == "http://there:1"
    assert dashboard_url("http://here:1") == "http://here:1"


@pytest.mark.unit
@pytest.mark.parametrize("address", ["ray://head:10001", "http://", "http://me:secret@head:8265", "http://head:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ClusterError) as caught:
        dashboard_url(address)
    assert "secret" not in str(caught.value)
