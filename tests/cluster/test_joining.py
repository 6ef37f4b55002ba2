"""A cluster that is there already: several drivers share it, one of another version or without a right is refused, and
a machine that joins gets our code."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cluster.capacity import ClusterError
from cluster.nodes.head import find_head
from tests.support.drivers import Watched
from tests.support.joining import clean_environment, drive, driver_command
from tests.support.raylets import RayNode, RayNodes, can_disguise, ray_nodes
from tests.support.specs import GOOD

pytestmark = pytest.mark.system

# Trains on every logical GPU at the same time, stays in the cluster while another driver comes and goes, and goes on.
FIRST = """
import ray
with connect(spec, run_folder=folder) as session:
    from ray import tune
    def train(config):
        place, until = Path(config["place"]), time.monotonic() + 120
        (place / str(os.getpid())).touch()
        while len(list(place.iterdir())) < config["slots"]:  # or two would share a GPU one after the other
            assert time.monotonic() < until, "the other trials have not started"
            time.sleep(0.05)
        tune.report({"gpu": int(os.environ["CUDA_VISIBLE_DEVICES"])})
    results = tune.Tuner(
        tune.with_resources(train, session.resources.to_ray()),
        param_space={"slots": session.slots, "place": sys.argv[3]},
        tune_config=tune.TuneConfig(num_samples=session.slots),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    gpus = sorted(result.metrics["gpu"] for result in results)
    print(json.dumps([session.slots, session.device, session.logical_gpus, gpus]), flush=True)
    sys.stdin.readline()
    print(ray.get(ray.remote(lambda: 41).remote()) + 1)
"""
SECOND = """
import ray
ours, ray.__version__ = ray.__version__, "2.9.0"
try:
    with connect(spec, run_folder=folder):
        said = "joined"
except ClusterError as error:
    said = str(error)
ray.__version__ = ours
with connect(spec, run_folder=folder) as session:
    print(json.dumps({"as another version": said, "as itself": session.describe()}))
"""


class Shared(NamedTuple):
    """The output of two drivers of one cluster; the second joins and leaves while the first runs."""

    trials: list[Any]
    first: Watched
    second: Mapping[str, str]
    home: Path


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with (
        tempfile.TemporaryDirectory(prefix="tft", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ray_nodes(Path(folder), disguised=True) as nodes,
    ):
        yield nodes


@pytest.fixture(scope="module")
def head(nodes: RayNodes) -> RayNode:
    """Starts a head that requires no token, with four logical GPUs."""
    return nodes.start("head", cpus=4, gpus=4)


@pytest.fixture(scope="module")
def shared(head: RayNode, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    folder = tmp_path_factory.mktemp("shared")
    for name in ("home", "place"):
        (folder / name).mkdir()
    command = driver_command(FIRST, head.address, folder / "run", folder / "place")
    environment = clean_environment(HOME=str(folder / "home"))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env=environment,
    ) as process:
        first = Watched(process)
        try:
            assert first.wait_until(lambda: bool(results(first))), first.errors
            second = json.loads(drive(SECOND, head.address, folder / "run"))
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert first.end() == 0, first.errors
        finally:
            process.kill()
    return Shared(json.loads(results(first)[0]), first, second, folder / "home")


def results(driver: Watched) -> list[str]:
    """Returns the lines of tunefleet; Tune draws boxes around its own."""
    return [line for line in driver.lines if line.startswith("[")]


@pytest.fixture(scope="module")
def other_machine(nodes: RayNodes, shared: Shared) -> RayNode:
    """Simulates another machine, with its own host name and /dev/shm, as far as Ray can see."""
    if not can_disguise():
        pytest.skip("needs the right to make namespaces")
    return nodes.start("other-machine", cpus=1, gpus=0)


def test_trials_spread_over_the_logical_gpus_of_a_cluster(shared: Shared) -> None:
    assert shared.trials == [4, "GPU", True, [0, 1, 2, 3]]
    assert list(shared.home.rglob("*")) == []


def test_a_cluster_of_this_machine_that_lets_everybody_in_is_joined_with_a_warning(
    head: RayNode, shared: Shared
) -> None:
    assert f"the Ray at {head.address} asks for no token and listens on all interfaces" in shared.first.errors


def test_a_driver_that_leaves_a_cluster_takes_nothing_from_another_one_or_from_the_cluster(
    head: RayNode, shared: Shared
) -> None:
    assert shared.second["as itself"].startswith(f"Ray at {head.address}: 4 CPUs, 4 logical GPUs")
    assert shared.first.lines[-1] == "42\n"
    assert head.process.poll() is None


def test_a_driver_with_another_ray_version_is_refused_clearly(shared: Shared) -> None:
    said = shared.second["as another version"]
    assert "runs other versions than this process" in said
    assert "Ray: 2.9.0" in said
    assert "Use the same Ray and Python on both sides." in said


def test_a_cluster_of_other_machines_that_lets_everybody_in_is_refused_with_a_token_at_hand_or_without(
    head: RayNode, other_machine: RayNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mode, token in (("disabled", None), ("token", "f" * 64)):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        if token:
            monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        with pytest.raises(
            ClusterError, match=rf"asks for no token, so whoever reaches its ports runs code on {other_machine.name} \("
        ):
            find_head(head.address)


ELSEWHERE = """
import ray
spec = spec.model_copy(update={"allow_unauthenticated": True})
sys.path.insert(0, sys.argv[4])
@ray.remote(num_cpus=0)
def origins():
    import cluster, own_trainable, trainables, tuning
    return cluster.__file__, own_trainable.__file__
found = []
with connect(spec, run_folder=folder, modules=["own_trainable"]) as session:
    for node in session.nodes:
        where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        found.append(ray.get(origins.options(scheduling_strategy=where).remote()))
try:
    with connect(spec, run_folder=Path(sys.argv[3])):
        said = "joined"
except ClusterError as error:
    said = str(error)
print(json.dumps([found, said]))
"""


def test_another_machine_gets_the_code_and_must_see_the_run_folder(
    head: RayNode, other_machine: RayNode, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "own_trainable.py").write_text("")
    with tempfile.TemporaryDirectory(prefix="tft", dir="/dev/shm") as hidden:
        said = drive(ELSEWHERE, head.address, tmp_path / "run", f"{hidden}/run", own)
    origins, refusal = json.loads(said)
    assert len(origins) == 2
    assert all("py_modules_files" in file for node in origins for file in node)
    assert f"cluster.storage: {hidden}/run is not visible from " in refusal


def test_doctor_examines_each_node_of_a_cluster(head: RayNode, tmp_path: Path) -> None:
    words = (f"cluster.address={head.address}", "cluster.allow_unauthenticated=true")  # other tests' node may be there
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli", "doctor", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=clean_environment(HOME=str(tmp_path), HF_HUB_OFFLINE="1"),
    )
    assert done.returncode == 0, done.stderr
    places = json.loads(done.stdout)
    assert list(places)[:2] == ["this machine", f"cluster {head.address}"]
    assert "4 logical GPUs" in places[f"cluster {head.address}"][0]["found"]
    nodes = [name for name in places if name.startswith("node ")]
    assert nodes
    assert {one["topic"] for one in places[nodes[0]]} >= {"versions", "memory", "/dev/shm", "other accounts"}
    assert not (tmp_path / "runs").exists()  # nothing is left by looking


def test_doctor_looks_on_each_node_for_a_model_of_the_hub(head: RayNode, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({**GOOD, "model": "someone/no-such-model"}))
    words = (f"cluster.address={head.address}", "cluster.allow_unauthenticated=true")
    done = subprocess.run(
        [sys.executable, "-m", "tuning.cli", "doctor", "spec.json", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=clean_environment(HOME=str(tmp_path), HF_HUB_OFFLINE="1"),
    )
    assert done.returncode in (0, 1), done.stderr
    hubs = {
        place: one for place, findings in json.loads(done.stdout).items() for one in findings if one["topic"] == "hub"
    }
    assert hubs.pop("this machine")["state"] == "note"  # no trial runs here
    assert hubs
    assert all("someone/no-such-model" in one["found"] or "answers" in one["found"] for one in hubs.values())
