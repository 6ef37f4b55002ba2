"""The files of cluster/launch: valid for Ray, Kubernetes and the shell, closed to strangers, free of secrets.

Nothing is launched here; what has been launched by hand stands in cluster/launch/README.md.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import cluster

LAUNCH = Path(cluster.__file__).parent / "launch"
FILES = sorted(path for path in LAUNCH.rglob("*") if path.suffix in (".yaml", ".sh"))
RAY_UP = sorted(LAUNCH.glob("*.yaml"))
CLOUDS = [LAUNCH / "aws.yaml", LAUNCH / "gcp.yaml"]
KUBERAY = sorted((LAUNCH / "kuberay").glob("*.yaml"))
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
KUBERNETES = "1.33"  # its API; the newest of a package that the tests' schemas are taken from is newer
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
# KubeRay's operator asks the dashboard of a RayJob how the job is: a NetworkPolicy takes the place of loopback.
DASHBOARD_OPEN_TO_THE_OPERATOR = "rayjob.yaml"

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


def name(path: Path) -> str:
    return path.name


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def ray_cluster(path: Path) -> dict[str, Any] | None:
    """Returns the RayCluster's spec of a file, if it declares one."""
    for document in documents(path):
        if document["kind"] == "RayCluster":
            return dict(document["spec"])
        if document["kind"] == "RayJob":
            return dict(document["spec"]["rayClusterSpec"])
    return None


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def shell_of(path: Path) -> str:
    """Returns what a shell runs of a file: a script itself, or the commands of a `ray up` file as one script."""
    if path.suffix == ".sh":
        return path.read_text()
    config = yaml.safe_load(path.read_text())
    commands = itertools.chain.from_iterable(config.get(key, ()) for key in COMMANDS)
    return "#!/usr/bin/env bash\nRAY_HEAD_IP=192.0.2.1\n" + "\n".join(f"( {command} )" for command in commands)


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


@pytest.mark.unit
@pytest.mark.parametrize("path", RAY_UP, ids=name)
def test_ray_up_starts_nodes_with_the_token_of_a_mounted_file_and_in_no_other_way(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        *before, start = config[key]
        assert before == ["ray stop"]
        assert 'RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/auth_token"' in start
        assert "tunefleet cluster start" in start
        assert "ray start" not in start


@pytest.mark.unit
@pytest.mark.parametrize("path", [path for path in KUBERAY if ray_cluster(path)], ids=name)
def test_kuberay_gives_the_token_of_a_secret_and_an_operator_that_cannot_starts_nothing(path: Path) -> None:
    spec = ray_cluster(path)
    assert spec is not None
    assert spec["authOptions"] == {"mode": "token", "secretName": "tunefleet-token"}
    for group in groups(spec):
        assert group["template"]["metadata"]["labels"] == {"app.kubernetes.io/part-of": "tunefleet"}
        for container in group["template"]["spec"]["containers"]:
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]


@pytest.mark.unit
def test_strangers_in_a_kubernetes_cluster_reach_no_pod_and_the_operator_only_the_dashboard() -> None:
    policies = [doc for doc in documents(LAUNCH / "kuberay/namespace.yaml") if doc["kind"] == "NetworkPolicy"]
    (policy,) = (policy["spec"] for policy in policies)
    ours = {"matchLabels": {"app.kubernetes.io/part-of": "tunefleet"}}
    assert policy["podSelector"] == ours
    peers, operator = policy["ingress"]
    assert peers == {"from": [{"podSelector": ours}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]


@pytest.mark.unit
def test_slurm_starts_nodes_with_a_token_of_the_jobs_own_that_goes_with_it() -> None:
    script = (LAUNCH / "slurm.sh").read_text()
    made = script.index("umask 077")
    assert made < script.index("secrets.token_hex(32)") < script.index("""trap 'rm -f "$token"' EXIT""")
    assert script.index("export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token") < script.index("cluster start")
    assert not re.search(r"^[^#]*\bray start\b", script, re.MULTILINE)


def dashboards(path: Path) -> Iterator[str]:
    """Returns every host that a file binds the dashboard to."""
    if spec := ray_cluster(path) if path in KUBERAY else None:
        yield spec["headGroupSpec"]["rayStartParams"]["dashboard-host"]
        return
    for word in shlex.split(shell_of(path) if path not in KUBERAY else "", comments=True):
        if word.startswith("--dashboard-host="):
            yield word.partition("=")[2]


@pytest.mark.unit
@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_dashboard_listens_on_loopback(path: Path) -> None:
    allowed = "0.0.0.0" if path.name == DASHBOARD_OPEN_TO_THE_OPERATOR else "127.0.0.1"
    starts_a_head = path.name not in ("setup_node.sh", "namespace.yaml")
    assert list(dashboards(path)) == [allowed] * starts_a_head


SECRETS = (
    r"(?<!sha256:)\b[0-9a-fA-F]{32,}\b",  # tokens, W&B keys
    r"\bhf_[A-Za-z0-9]{20,}",
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    r"-----BEGIN",
    r"://[^/\s:@]+:[^@\s]+@",
    r"(?i)\b(password|api_key|secret_key|token)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{16,}",
)


def secrets_in(text: str) -> list[str]:
    return [found[0] for pattern in SECRETS for found in re.finditer(pattern, text)]


@pytest.mark.unit
@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_holds_nothing_that_looks_like_a_secret(path: Path) -> None:
    text = path.read_text()
    assert secrets_in(text) == []
    assert not re.search(r"^kind: Secret$", text, re.MULTILINE)


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    ["0123456789abcdef" * 4, "hf_" + "aB3" * 10, "postgresql://me:pass@host/db", "password: 'c29tZXRoaW5nbG9uZw'"],
)
def test_a_secret_would_be_found(text: str) -> None:
    assert secrets_in(f"env: {text}")


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
