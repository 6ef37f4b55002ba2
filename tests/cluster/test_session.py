"""Joining and starting Ray: what a session tells, what it refuses, and that it leaves things as they were."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster import ClusterSpec
from cluster.capacity import ClusterError, Node, trial_resources
from cluster.reach import source_of
from cluster.session import Session
from cluster.spec import TrialResources
from tests.support.heads import (
    TOKEN,
    Head,
    clean_environment,
    drive,
    free_ports,
)


def node(cpus: float, gpus: float = 0, accelerator: str | None = None, name: str = "n") -> Node:
    return Node(id=name, address=name, cpus=cpus, gpus=gpus, accelerator=accelerator)


def session(*nodes: Node, max_concurrent: int | None = None, **spec: float) -> Session:
    declared = ClusterSpec(**spec)  # type: ignore[arg-type]
    return Session("head:6379", nodes, trial_resources(declared, nodes), max_concurrent)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("nodes", "spec", "slots"),
    [
        ([node(2)], {}, 2),
        ([node(8, 4)], {}, 4),
        ([node(2, 4)], {}, 2),  # CPUs are the narrower resource
        ([node(8, 1)], {"gpus_per_trial": 0.5}, 2),
        ([node(8, 2)], {"gpus_per_trial": 0.4}, 4),  # two of 0.4 on each; a fifth would lie across both
        ([node(10, 1)], {"gpus_per_trial": 0.1}, 10),
        ([node(3), node(3)], {"cpus_per_trial": 2}, 2),  # not the three that a sum of CPUs would promise
        ([node(8), node(4, 2)], {}, 2),  # GPU trials do not fit on the node without
        ([node(8, 4)], {"gpus_per_trial": 0}, 8),
        ([node(8, 4)], {"gpus_per_trial": 2}, 2),
        ([node(8, 3), node(8, 1)], {"gpus_per_trial": 2}, 1),  # a trial's GPUs lie on one node
        ([node(8, 8)], {"gpus_per_trial": 2, "cpus_per_trial": 4}, 2),
    ],
)
def test_slots_are_what_each_node_holds_on_its_own(nodes: list[Node], spec: dict[str, float], slots: int) -> None:
    assert session(*nodes, **spec).slots == slots


@pytest.mark.unit
def test_slots_never_exceed_max_concurrent() -> None:
    assert session(node(8), max_concurrent=3).slots == 3
    assert session(node(2), max_concurrent=3).slots == 2


@pytest.mark.unit
@pytest.mark.parametrize(
    ("nodes", "spec", "message"),
    [
        ([node(8)], {"gpus_per_trial": 1}, "cluster.gpus_per_trial: 1, but the largest node has 0 GPUs. Set it to 0"),
        (
            [node(8, 1)] * 2,
            {"gpus_per_trial": 2},
            "2, but the largest node has 1 GPU. Set it to 1 or less, as a trial runs",
        ),
        (
            [node(4), node(2)],
            {"cpus_per_trial": 6},
            "cluster.cpus_per_trial: 6, but the largest node has 4 CPUs. Set it",
        ),
        ([node(8), node(1, 1)], {"cpus_per_trial": 4, "gpus_per_trial": 1}, "but no single node has both"),
    ],
)
def test_a_trial_that_no_node_holds_is_refused_by_name(nodes: list[Node], spec: dict[str, float], message: str) -> None:
    with pytest.raises(ClusterError, match=message.replace(".", r"\.")):
        session(*nodes, **spec)


@pytest.mark.unit
def test_an_undeclared_gpu_share_is_one_where_there_are_gpus_and_none_elsewhere() -> None:
    assert session(node(8, 2)).resources == TrialResources(cpus=1, gpus=1)
    assert session(node(8)).resources == TrialResources(cpus=1, gpus=0)


@pytest.mark.unit
def test_cost_is_counted_in_the_devices_that_a_trial_holds() -> None:
    on_gpu, on_cpu = session(node(8, 2), gpus_per_trial=0.5), session(node(8), cpus_per_trial=2)
    assert (on_gpu.device, on_gpu.devices_per_trial) == ("GPU", 0.5)
    assert (on_cpu.device, on_cpu.devices_per_trial) == ("CPU core", 2)


@pytest.mark.unit
def test_gpus_without_a_device_are_called_logical() -> None:
    assert session(node(8, 4)).describe() == (
        "Ray at head:6379: 8 CPUs, 4 logical GPUs; 4 trials at a time, 1 CPU and 1 logical GPU each"
        "; no device behind the logical GPUs: trials train on CPU"
    )
    real = session(node(8, 2, "H200"), node(8, 2, "H200"))
    assert real.describe() == "Ray at head:6379: 2 nodes, 16 CPUs, 4 GPUs; 4 trials at a time, 1 CPU and 1 GPU each"


@pytest.mark.unit
@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "head:port", "local"])
def test_an_address_that_is_none_is_refused_while_the_spec_is_read(address: str) -> None:
    with pytest.raises(ValidationError, match="must be null, auto, or host:port of a Ray head"):
        ClusterSpec(address=address)


# Below: real Ray, in processes of their own, so that what they leave behind can be counted.


LOCAL = """
import psutil, signal
from ray._private.node import Node
ending, kill = sys.argv[3], Node.kill_all_processes
def on_a_busy_machine(node, **options):
    (raylet,) = (process for process in psutil.Process().children() if process.name() == "raylet")
    raylet.send_signal(signal.SIGSTOP)  # it cannot end within Ray's patience and is killed, with its agents alive
    return kill(node, **options)
if ending == "error":
    Node.kill_all_processes = on_a_busy_machine
before = dict(os.environ)
try:
    with connect(spec, run_folder=folder) as session:
        import ray
        @ray.remote
        def nice():
            return os.nice(0)
        @ray.remote
        class Busy:
            def work(self):
                time.sleep(1000)
        closed = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
        assert closed.stat().st_mode & 0o077 == 0, "another account can reach Ray's sockets and its code"
        busy = Busy.remote()
        working = busy.work.remote()
        print(json.dumps([session.describe(), ray.get(nice.remote()), os.environ["RAY_AUTH_MODE"]]), flush=True)
        if ending:
            raise {"error": ValueError, "interrupt": KeyboardInterrupt}[ending]
except (ValueError, KeyboardInterrupt):
    pass
changed = {name for name in before.keys() | os.environ if before.get(name) != os.environ.get(name)}
assert not changed & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_worker_niceness"}, changed
assert not list(Path(os.environ["TMPDIR"]).iterdir())
def works_there(pid):  # Ray's processes overwrite their arguments and variables, not their open files
    try:
        return any(os.readlink(link).startswith(str(closed)) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
left = [process.name() for process in psutil.process_iter() if works_there(process.pid)]
assert not left, left
"""


@pytest.mark.system
@pytest.mark.parametrize("ending", ["", "error", "interrupt"])
def test_a_local_ray_leaves_no_process_and_no_file(ending: str, short_folder: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", short_folder / "t"
    home.mkdir()
    temporary.mkdir()
    done = drive(LOCAL, "", tmp_path / "run", ending, HOME=str(home), TMPDIR=str(temporary), RAY_ADDRESS="10.0.0.1:1")
    assert done.returncode == 0, done.stderr
    described, nice, mode = json.loads(done.stdout)
    assert described.startswith("local Ray: ")
    assert nice == 0
    assert mode == "token"
    assert list(home.rglob("*")) == []
    assert list(temporary.iterdir()) == []
    assert list((tmp_path / "run").iterdir()) == []


STRANGER = """
with connect(spec, run_folder=folder):
    import ray, subprocess
    head = ray.get_runtime_context().gcs_address
    code = "import sys; from cluster.head import find_head; find_head(sys.argv[1])"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    print(subprocess.run([sys.executable, "-c", code, head], env=kept, capture_output=True, text=True).stderr)
"""


@pytest.mark.system
def test_a_local_ray_lets_nobody_else_in(tmp_path: Path) -> None:
    done = drive(STRANGER, "", tmp_path / "run", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "wants a token and there is none" in done.stdout


TUNE = """
with connect(spec, run_folder=folder) as session:
    from ray import tune
    def train(config):
        time.sleep(3)  # all four at the same time, or two would share a GPU
        tune.report({"gpu": int(os.environ["CUDA_VISIBLE_DEVICES"])})
    results = tune.Tuner(
        tune.with_resources(train, session.resources.to_ray()),
        tune_config=tune.TuneConfig(num_samples=session.slots),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    print(json.dumps([session.slots, session.device, session.logical_gpus, sorted(r.metrics["gpu"] for r in results)]))
"""


@pytest.mark.system
def test_trials_spread_over_the_logical_gpus_of_a_cluster_that_several_drivers_share(
    start_head: Callable[..., Head], tmp_path: Path
) -> None:
    head = start_head(RAY_AUTH_MODE="disabled")
    home = tmp_path / "home"
    home.mkdir()
    done = drive(TUNE, head.address, tmp_path / "run", HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [4, "GPU", True, [0, 1, 2, 3]]
    assert f"the Ray at {head.address} asks for no token and listens on all interfaces" in done.stderr
    assert list(home.rglob("*")) == []

    stay = "with connect(spec, run_folder=folder):\n print('in', flush=True); sys.stdin.readline()\n import ray\n"
    stay += " print(ray.get(ray.remote(lambda: 41).remote()) + 1)"
    header = (
        "import sys\nfrom pathlib import Path\nfrom cluster import ClusterSpec\nfrom cluster.session import connect\n"
    )
    header += "spec, folder = ClusterSpec(address=sys.argv[1]), Path(sys.argv[2])\n"
    with subprocess.Popen(
        [sys.executable, "-c", header + stay, head.address, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "in\n"
        second = drive("with connect(spec, run_folder=folder): print('in')", head.address, tmp_path / "run")
        assert second.stdout == "in\n", second.stderr
        first.stdin.write("\n")
        first.stdin.flush()
        assert first.stdout.readline() == "42\n"  # the second left; the first goes on
    assert head.process.poll() is None


JOIN = """
try:
    with connect(spec, run_folder=folder) as session:
        print(session.describe())
except ClusterError as error:
    print(error)
"""


@pytest.mark.system
def test_a_cluster_with_a_token_is_joined_with_it_and_refused_clearly_without(
    start_head: Callable[..., Head], tmp_path: Path
) -> None:
    head = start_head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    home, run = str(tmp_path), tmp_path / "run"
    assert "wants a token and there is none. Put" in drive(JOIN, head.address, run, HOME=home).stdout
    wrong = drive(JOIN, head.address, run, HOME=home, RAY_AUTH_TOKEN="f" * 64).stdout
    assert "the head refused the one found" in wrong
    assert "f" * 64 not in wrong
    off = drive(JOIN, head.address, run, HOME=home, RAY_AUTH_MODE="disabled").stdout
    assert "wants a token, but RAY_AUTH_MODE=disabled" in off
    assert drive(JOIN, head.address, run, HOME=home, RAY_AUTH_TOKEN=TOKEN).stdout.startswith("Ray at 127.0.0.1")


OTHER_MACHINE = """
spec = spec.model_copy(update={"allow_unauthenticated": True})
sys.path.insert(0, sys.argv[3])
try:
    with connect(spec, run_folder=folder, modules=["own_trainable"]) as session:
        import ray
        @ray.remote(num_cpus=0)
        def origins():
            import cluster, own_trainable, trainables, tuning
            return cluster.__file__, own_trainable.__file__
        for node in session.nodes:
            where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
            print(*ray.get(origins.options(scheduling_strategy=where).remote()))
except ClusterError as error:
    print(error)
"""


@pytest.mark.system
def test_another_machine_gets_the_code_and_must_see_the_run_folder(
    start_head: Callable[..., Head], tmp_path: Path
) -> None:
    hidden, own = tmp_path / "hidden", tmp_path / "own"
    hidden.mkdir()
    own.mkdir()
    (own / "own_trainable.py").write_text("")
    # Another machine, as far as Ray can tell: another host name, and other contents of one folder.
    disguise = f'hostname other-machine && mount -t tmpfs none {hidden} && exec "$@"'
    under = ("unshare", "--uts", "--mount", "sh", "-c", disguise, "sh")
    if shutil.which("unshare") is None or subprocess.run([*under, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make namespaces")
    head = start_head(RAY_AUTH_MODE="disabled")
    start_head(*under, join=head.address, RAY_AUTH_MODE="disabled")

    for proof in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}):
        open_door = drive(JOIN, head.address, tmp_path / "run", **proof).stdout
        assert "asks for no token, so whoever reaches its ports runs code on other-machine (" in open_door

    shipped = drive(OTHER_MACHINE, head.address, tmp_path / "run", own).stdout.splitlines()
    assert len(shipped) == 2, shipped
    assert all(origin.count("py_modules_files") == 2 for origin in shipped), shipped
    refused = drive(OTHER_MACHINE, head.address, hidden / "run", own).stdout
    assert f"cluster.storage: {hidden / 'run'} is not visible from " in refused


VERSIONS = """
from ray._private.worker import global_worker
import ray
ray.init(address=sys.argv[1], logging_level="error")
key, space = b"CLUSTER_METADATA", b"cluster"
held = json.loads(global_worker.gcs_client.internal_kv_get(key, space))
global_worker.gcs_client.internal_kv_put(key, json.dumps({**held, "ray_version": "2.9.0"}).encode(), True, space)
ray.shutdown()
"""


@pytest.mark.system
def test_a_cluster_with_another_ray_version_is_refused_clearly(start_head: Callable[..., Head], tmp_path: Path) -> None:
    head = start_head(RAY_AUTH_MODE="disabled")
    forged = drive(VERSIONS, head.address, tmp_path, RAY_AUTH_MODE="disabled")
    assert forged.returncode == 0, forged.stderr
    said = drive(JOIN, head.address, tmp_path / "run").stdout
    assert "runs other versions than this process" in said
    assert "Ray: 2.9.0" in said
    assert "Use the same Ray and Python on both sides." in said


@pytest.mark.system
def test_a_head_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    port = free_ports(1)
    started = time.monotonic()
    done = drive(JOIN, f"127.0.0.1:{port}", tmp_path)
    assert f"cluster.address: no Ray head answers at 127.0.0.1:{port}" in done.stdout, done.stderr
    assert time.monotonic() - started < 15  # ray.init itself tries for 20 s


@pytest.mark.ray
def test_a_process_that_uses_ray_already_keeps_it(ray_session: None, tmp_path: Path) -> None:
    import ray

    from cluster.session import connect

    with connect(ClusterSpec(), run_folder=tmp_path / "run") as used:
        assert used.slots == 4
    assert ray.is_initialized()
    with (
        pytest.raises(ClusterError, match="this process already uses the Ray at"),
        connect(ClusterSpec(address="elsewhere:6379"), run_folder=tmp_path),
    ):
        pass


@pytest.mark.unit
def test_a_package_is_brought_to_other_machines_without_an_init_py_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert source_of("own_package") == tmp_path / "own_package"
    with pytest.raises(ClusterError, match="no module 'no_package' on this machine"):
        source_of("no_package")


@pytest.mark.ray
def test_a_run_folder_that_cannot_be_written_is_refused(ray_session: None, tmp_path: Path) -> None:
    from cluster.session import connect

    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match=r"cluster\.storage: .* cannot be written: Not a directory"),
        connect(ClusterSpec(), run_folder=tmp_path / "file" / "run"),
    ):
        pass
