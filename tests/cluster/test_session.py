"""A session of Ray: what it tells of the cluster, how many trials it holds, and what it refuses."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
import ray
from pydantic import ValidationError

from cluster import ClusterSpec
from cluster.capacity import ClusterError, Node, startable, trial_resources
from cluster.local import local_ray
from cluster.session import Session, connect
from cluster.spec import TrialResources
from cluster.workers.code_shipping import source_of


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
@pytest.mark.parametrize(
    ("free", "spec", "more"),
    [
        ({"CPU": 3.0}, {"gpus_per_trial": 0}, 3),
        ({"CPU": 3.0}, {"gpus_per_trial": 0, "cpus_per_trial": 2}, 1),
        ({"CPU": 8.0, "GPU": 2.0}, {"gpus_per_trial": 1}, 2),
        ({"CPU": 1.0, "GPU": 2.0}, {"gpus_per_trial": 1}, 1),
        ({"CPU": 8.0}, {"gpus_per_trial": 1}, 0),
        ({"CPU": 8.0, "GPU": 0.6}, {"gpus_per_trial": 0.3}, 2),
        ({}, {}, 0),
    ],
)
def test_as_many_trials_start_as_there_is_free_for(free: dict[str, float], spec: dict[str, float], more: int) -> None:
    assert startable(session(node(8, 4), **spec).resources, free) == more


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


@pytest.mark.unit
def test_a_head_that_is_not_there_is_said_without_ray_s_own_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda **options: pytest.fail("ray.init tries for 20 s"))
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f"cluster.address: no Ray head answers at {address}"),
            connect(ClusterSpec(address=address), run_folder=tmp_path / "run"),
        ):
            pass
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_a_process_that_uses_ray_already_keeps_it(ray_session: None, tmp_path: Path) -> None:
    import ray

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
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match=r"cluster\.storage: .* cannot be written: Not a directory"),
        connect(ClusterSpec(), run_folder=tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.unit
def test_a_local_ray_whose_servers_do_not_start_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray gives its servers half a minute, and raises a bare Exception on a machine that is too busy for that."""

    def too_slow(**options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", too_slow)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = dict(os.environ)
    shown = r"local Ray: its servers did not start .*timed out.*\bload\b.*try again"
    with pytest.raises(ClusterError, match=shown), local_ray(ClusterSpec(), None):
        pass
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())
