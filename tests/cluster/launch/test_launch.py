"""The files of cluster/launch are valid for Ray, Kubernetes and the shell.

Nothing is launched here; what has been launched by hand stands in cluster/launch/README.md.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.launch_files import (
    CLOUDS,
    FILES,
    KUBERAY,
    LAUNCH,
    RAY_UP,
    SCRIPTS,
    documents,
    groups,
    name,
    ray_cluster,
    shell_of,
)

KUBERNETES = "1.33"  # its API; the newest of a package that the tests' schemas are taken from is newer
# What ray.io/v1 knows, from KubeRay's CRD reference for 1.6 and 1.7; pod templates are checked by Kubernetes' own.
CLUSTER_FIELDS = {
    "": {
        "authOptions",
        "autoscalerOptions",
        "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "headServiceAnnotations",
        "managedBy",
        "rayVersion",
        "suspend",
        "workerGroupSpecs",
    },
    "authOptions": {"enableK8sTokenAuth", "mode", "secretName"},
    "autoscalerOptions": {
        "args",
        "command",
        "env",
        "envFrom",
        "idleTimeoutSeconds",
        "image",
        "imagePullPolicy",
        "resources",
        "securityContext",
        "upscalingMode",
        "version",
        "volumeMounts",
    },
    "headGroupSpec": {
        "enableIngress",
        "headService",
        "labels",
        "rayStartParams",
        "resources",
        "serviceType",
        "template",
    },
}
WORKER_FIELDS = {
    "groupName",
    "idleTimeoutSeconds",
    "labels",
    "maxReplicas",
    "minReplicas",
    "numOfHosts",
    "rayStartParams",
    "replicas",
    "resources",
    "scaleStrategy",
    "suspend",
    "template",
}
JOB_FIELDS = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "clusterSelector",
    "deletionStrategy",
    "entrypoint",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "jobId",
    "managedBy",
    "metadata",
    "preRunningDeadlineSeconds",
    "rayClusterSpec",
    "runtimeEnvYAML",
    "shutdownAfterJobFinishes",
    "submissionMode",
    "submitterConfig",
    "submitterPodTemplate",
    "suspend",
    "ttlSecondsAfterFinished",
}


def header(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return list(itertools.takewhile(lambda line: line.startswith("#"), lines))


def tool(program: str) -> str:
    """Returns the program that a package has installed here, or the system's."""
    found = shutil.which(program, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{program} is not installed: pip install -e '.[dev]'")
    return found


@pytest.mark.unit
@pytest.mark.parametrize("path", RAY_UP, ids=name)
def test_a_ray_up_file_meets_rays_schema_with_the_defaults_of_its_provider_filled_in(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    # What a file leaves out is the provider's: Ray's own defaults install another Ray and open the dashboard.
    assert "ray-wheels" not in str(config)
    assert "0.0.0.0" not in str(config)


@pytest.mark.unit
@pytest.mark.parametrize("path", CLOUDS, ids=name)
def test_a_cloud_has_no_gpu_worker_until_a_trial_wants_one_and_then_a_spot_node(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    workers = {key: kind for key, kind in config["available_node_types"].items() if key != config["head_node_type"]}
    assert workers
    for kind in workers.values():
        assert kind["min_workers"] == 0
        assert kind["resources"]["GPU"] >= 1
        assert "spot" in str(kind["node_config"]).lower()
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert not config["provider"]["cache_stopped_nodes"]


@pytest.mark.unit
def test_machines_of_ones_own_are_started_by_the_autoscaler_that_can() -> None:
    config = yaml.safe_load((LAUNCH / "on_premise.yaml").read_text())
    assert "export RAY_enable_autoscaler_v2=0;" in config["head_start_ray_commands"][-1]


@pytest.mark.unit
@pytest.mark.parametrize("path", KUBERAY, ids=name)
def test_a_kubernetes_file_meets_the_schemas_of_kubernetes_and_names_only_fields_that_kuberay_knows(path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install -e '.[dev]'")

    for document in documents(path):
        assert document["metadata"]["namespace"] == "tunefleet"
        if document["apiVersion"] != "ray.io/v1":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    if (spec := ray_cluster(path)) is None:
        return
    for part, known in CLUSTER_FIELDS.items():
        assert set(spec.get(part, ()) if part else spec) <= known
    for group in groups(spec):
        assert set(group) <= WORKER_FIELDS | CLUSTER_FIELDS["headGroupSpec"]
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    for worker in spec["workerGroupSpecs"]:
        assert set(worker) <= WORKER_FIELDS
        assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for document in documents(path):
        if document["kind"] == "RayJob":
            assert set(document["spec"]) <= JOB_FIELDS


@pytest.mark.unit
@pytest.mark.parametrize("path", [path for path in KUBERAY if ray_cluster(path)], ids=name)
def test_a_pod_has_shared_memory_of_a_stated_size_the_shared_folder_and_no_privileges(path: Path) -> None:
    spec = ray_cluster(path)
    assert spec is not None
    for group in groups(spec):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
            assert mounts["/dev/shm"]["emptyDir"]["sizeLimit"]
            assert mounts["/mnt/tunefleet"]["persistentVolumeClaim"]["claimName"] == "tunefleet"
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not container["securityContext"]["allowPrivilegeEscalation"]


@pytest.mark.system
@pytest.mark.parametrize("path", [*SCRIPTS, *RAY_UP], ids=name)
def test_what_a_shell_runs_passes_bash_and_shellcheck(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(shell_of(path))
    checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    # SC2155: the failure that `export X="$(...)"` hides is a file that is not there, and then the default is taken.
    command = [tool("shellcheck"), "--severity=warning", "--exclude=SC2155", str(script)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.system
@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_opens_with_what_it_needs_and_commands_that_a_shell_can_read(path: Path) -> None:
    comment = "\n".join(header(path))
    assert re.search(r"\bneeds?\b", comment, re.IGNORECASE)
    commands = [line.removeprefix("#").strip() for line in header(path) if line.startswith("#     ")]
    assert commands
    checked = subprocess.run(["bash", "-n"], input="\n".join(commands), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def set_up_node(home: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(LAUNCH / "setup_node.sh"), "clone", str(folder)]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.system
def test_a_node_closes_the_token_that_it_was_sent_and_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir(mode=0o755)
    token.write_text("t")
    token.chmod(0o644)
    ended = set_up_node(tmp_path, tmp_path / "missing")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert ended.returncode == 1
    assert f"{tmp_path / 'missing'}: no folder that" in ended.stderr


@pytest.mark.system
def test_a_node_gets_tunefleet_with_the_pinned_versions_and_its_shells_find_the_command_once(tmp_path: Path) -> None:
    folder, token = tmp_path / "shared", tmp_path / ".ray" / "auth_token"
    python = tmp_path / "tunefleet-venv" / "bin" / "python"
    for made in (folder, token.parent, python.parent):
        made.mkdir(parents=True)
    token.write_text("t")
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    python.chmod(0o755)
    for _ in range(2):
        ended = set_up_node(tmp_path, folder)
        assert ended.returncode == 0, ended.stderr
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["-m pip install --quiet --constraint clone/docker/constraints.txt clone[quickstart,postgres]"] * 2
    assert (tmp_path / ".bashrc").read_text() == f"export PATH={python.parent}:$PATH\n"
