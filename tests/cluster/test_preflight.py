"""The check of nodes before the first trial reports what is wrong with each, from what the node has answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem

from cluster.capacity import ClusterError, Node
from cluster.node_report import NodeReport, installed_versions, module_digests
from cluster.nodes.autoscaling import wait_for_nodes
from cluster.preflight import check_nodes, problems_of
from cluster.spec import ClusterSpec
from cluster.workers.code_shipping import make_writable_folder

OWN = NodeReport({"python": "3.11", "torch": "2.13.0+cpu", "ray": "2.60.0"}, {"tuning": "a", "mine": "b"}, {}, None, 0)
PLAIN = Node("n", "10.0.0.1", cpus=4, gpus=0, accelerator=None)
WITH_GPU = Node("n", "10.0.0.1", cpus=4, gpus=2, accelerator="H200")


def said(node: Node = PLAIN, **changed: object) -> list[str]:
    return list(problems_of(node, OWN, OWN._replace(**changed)))


@pytest.mark.unit
def test_a_node_like_the_drivers_has_no_problem() -> None:
    assert said() == []
    assert said(versions={**OWN.versions, "torch": "2.13.0+cu130"}) == []  # the head has the CPU's build of it


@pytest.mark.unit
def test_another_version_and_a_missing_library_are_named_with_both_sides() -> None:
    (problem,) = said(versions={**OWN.versions, "torch": "2.12.1"})
    assert problem == "torch 2.12.1, here 2.13.0+cpu. Install the same version on both."
    (problem,) = said(versions={"python": "3.11", "torch": "2.13.0"})
    assert problem.startswith("ray is missing, here 2.60.0.")


@pytest.mark.unit
def test_other_code_and_a_module_that_is_not_found_are_named() -> None:
    (differs,) = said(digests={"tuning": "c", "mine": "b"})
    assert "module tuning differs from this machine's" in differs
    (missing,) = said(digests={"tuning": "a", "mine": None})
    assert "module mine is not found" in missing


@pytest.mark.unit
def test_unreadable_inputs_and_a_storage_that_fails_are_named() -> None:
    problems = said(unreadable={"/data/rte": "Permission denied"}, storage="cluster.storage: /runs/x cannot be written")
    assert problems[0].startswith("/data/rte cannot be read: Permission denied. Copy it there")
    assert problems[1].startswith("cluster.storage: /runs/x cannot be written. Set cluster.storage to")


@pytest.mark.unit
def test_a_gpu_that_ray_promises_must_be_there_for_cuda_and_for_torch() -> None:
    (problem,) = said(WITH_GPU, cuda="libcuda.so.1: cannot open shared object file")
    assert problem.startswith("Ray says 2 x H200, CUDA finds none (libcuda.so.1: cannot open shared object file).")
    assert said(WITH_GPU, cuda=0)[0].startswith("Ray says 2 x H200, CUDA finds none (no device).")
    (problem,) = said(WITH_GPU, cuda=2)
    assert problem == "torch 2.13.0+cpu cannot use its H200. Install torch with CUDA."
    assert said(WITH_GPU, cuda=2, versions={**OWN.versions, "torch": "2.13.0"}) == []


@pytest.mark.unit
def test_logical_gpus_and_those_of_other_makers_are_not_asked_for_cuda() -> None:
    logical = Node("n", "10.0.0.1", cpus=4, gpus=2, accelerator=None)
    other = Node("n", "10.0.0.1", cpus=4, gpus=2, accelerator="AMD-Instinct-MI300X-OAM")
    assert said(logical, cuda="none") == said(other, cuda="none") == []


@pytest.mark.unit
def test_a_digest_is_of_the_sources_and_of_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "digested_one"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = module_digests(["digested_one", "no_such_module"])
    assert before["no_such_module"] is None
    (package / "note.txt").write_text("not code")
    assert module_digests(["digested_one"])["digested_one"] == before["digested_one"]
    (package / "__init__.py").write_text("x = 2\n")
    assert module_digests(["digested_one"])["digested_one"] != before["digested_one"]


@pytest.mark.unit
def test_versions_are_read_without_importing_anything() -> None:
    assert installed_versions()["transformers"].count(".") == 2
    assert installed_versions()["python"].startswith("3.")


@pytest.mark.unit
def test_a_run_folder_that_cannot_be_written_is_refused_before_any_node_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"cluster\.storage: .* cannot be written: Not a directory"):
        make_writable_folder(tmp_path / "file" / "run")
    make_writable_folder(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.ray
def test_what_fails_while_the_nodes_look_is_raised_and_no_probe_stays(ray_session: None, tmp_path: Path) -> None:
    def fails() -> None:
        raise RuntimeError("made with other versions")

    with pytest.raises(RuntimeError, match="made with other versions"):
        check_nodes(wait_for_nodes(ClusterSpec()), LocalFileSystem(), str(tmp_path), meanwhile=fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_what_fails_while_the_nodes_look_is_raised_also_where_the_storage_is_lost(
    ray_session: None, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    def fails() -> None:
        shutil.rmtree(folder)
        raise RuntimeError("made with other versions")

    with pytest.raises(RuntimeError, match="made with other versions"):
        check_nodes(wait_for_nodes(ClusterSpec()), LocalFileSystem(), str(folder), meanwhile=fails)
