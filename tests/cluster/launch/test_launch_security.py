"""The files of cluster/launch start nodes that are closed to strangers, and hold no secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.launch_files import FILES, KUBERAY, LAUNCH, RAY_UP, documents, groups, name, ray_cluster, shell_of

# KubeRay's operator asks the dashboard of a RayJob how the job is: a NetworkPolicy takes the place of loopback.
DASHBOARD_OPEN_TO_THE_OPERATOR = "rayjob.yaml"


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
