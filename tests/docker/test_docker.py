"""The files of docker/: the image is pinned, unprivileged and linted; compose opens nothing but loopback.

What has been built and run by hand stands in cluster/launch/README.md.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
OURS = re.compile(r"\$\{TUNEFLEET_IMAGE:-tunefleet:[\w.-]+\}")
DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
# What `pip install` in the Dockerfile names beside tunefleet itself, and `ray up` on its heads.
EXTRAS = ("quickstart", "postgres")
BESIDE = ("optuna-dashboard", "boto3", "google-api-python-client", "cryptography")


class Instruction(NamedTuple):
    stage: int  # 0: before the first FROM
    word: str
    value: str


def instructions() -> Iterator[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage = 0
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        word, _, value = line.strip().partition(" ")
        stage += word == "FROM"
        yield Instruction(stage, word, re.sub(r"\s+", " ", value))


def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def nodes() -> dict[str, dict[str, Any]]:
    """Returns the services that run Ray."""
    return {key: service for key, service in services().items() if "cluster" in service.get("command", ())}


def pins() -> dict[str, str]:
    lines = (DOCKER / "constraints.txt").read_text().splitlines()
    pairs = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(pin for _, pin, _ in pairs)
    return {package: version for package, _, version in pairs}


@pytest.mark.unit
def test_both_stages_start_from_one_base_that_its_digest_pins() -> None:
    stages = [found.value for found in instructions() if found.word == "FROM"]
    assert stages == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    (base,) = (found.value for found in instructions() if found.stage == 0)
    assert DIGEST.fullmatch(base.removeprefix("PYTHON_IMAGE="))


@pytest.mark.unit
def test_the_image_runs_as_nobody_special_and_its_ray_wants_a_token() -> None:
    last = [found for found in instructions() if found.stage == 2]
    words = [found.word for found in last]
    assert [found.value for found in last if found.word == "USER"] == ["1000:1000"]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("RUN", "COPY"))
    assert "RAY_AUTH_MODE=token" in next(found.value for found in last if found.word == "ENV")


@pytest.mark.unit
def test_the_build_takes_everything_from_the_clone_and_from_pinned_packages() -> None:
    found = list(instructions())
    assert "ADD" not in {one.word for one in found}
    commands = [one.value for one in found if one.word == "RUN"]
    assert not re.search(r"\b(curl|wget|git clone|apt-get)\b", " ".join(commands))
    installs = [call for command in commands for call in re.findall(r"pip install [^;]*", command)]
    assert len(installs) == 3
    assert all("--constraint docker/constraints.txt" in call for call in installs)


@pytest.mark.system
def test_the_dockerfile_passes_hadolint() -> None:
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (hadolint := shutil.which("hadolint", path=folders)) is None:
        pytest.skip("hadolint is not installed: pip install -e '.[dev]'")
    linted = subprocess.run([hadolint, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.unit
def test_nothing_but_code_reaches_the_builder() -> None:
    first, *kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    copied = {
        path
        for one in instructions()
        if one.word == "COPY" and "--from" not in one.value
        for path in one.value.split()[:-1]
    }
    assert {f"!{path}" for path in copied} == {line for line in kept if line.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.unit
def test_every_package_of_the_image_is_pinned_to_a_version_that_tunefleet_allows() -> None:
    pinned = pins()
    wanted = [Requirement(text) for text in importlib.metadata.requires("tunefleet") or ()]
    queue = [one for one in wanted if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in EXTRAS)]
    queue += [Requirement(package) for package in BESIDE]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        requirement = queue.pop()
        package = canonicalize_name(requirement.name)
        assert package in pinned, f"{package} is not in docker/constraints.txt: its first lines say how it is made"
        assert requirement.specifier.contains(pinned[package], prereleases=True), f"{requirement} but {pinned[package]}"
        if (package, frozenset(requirement.extras)) in seen:
            continue
        seen.add((package, frozenset(requirement.extras)))
        try:
            if importlib.metadata.version(package) != pinned[package]:
                continue  # a newer one is here today, and the pinned one may have needed something else
            theirs = [Requirement(text) for text in importlib.metadata.requires(package) or ()]
        except importlib.metadata.PackageNotFoundError:
            continue  # for the clouds alone
        extras = requirement.extras or {""}
        queue += [one for one in theirs if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras)]


@pytest.mark.unit
@pytest.mark.parametrize("path", sorted(DOCKER.glob("compose*.yaml")), ids=lambda path: str(path.name))
def test_a_compose_file_meets_the_compose_specification(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("check_jsonschema", reason="pip install -e '.[dev]'")
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(schema))


@pytest.mark.unit
def test_compose_has_a_head_two_workers_a_store_and_the_dashboard_each_watched_and_pinned() -> None:
    assert set(services()) == {"head", "worker-1", "worker-2", "store", "optuna-dashboard"}
    for service in services().values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert OURS.fullmatch(service["image"]) or DIGEST.fullmatch(service["image"])


@pytest.mark.unit
def test_the_gpu_file_adds_to_services_that_there_are() -> None:
    added = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    assert set(added) <= set(services())


@pytest.mark.unit
def test_optuna_dashboard_is_reached_through_its_password_alone() -> None:
    dashboard = services()["optuna-dashboard"]
    assert dashboard["command"][:2] == ["python", "/opt/guarded_dashboard.py"]
    assert dashboard["command"][-1] == "/run/secrets/dashboard_password"
    assert "dashboard_password" in dashboard["secrets"]
    copied = [one.value for one in instructions() if one.word == "COPY"]
    assert "docker/guarded_dashboard.py /opt/guarded_dashboard.py" in copied
    for key, service in services().items():
        assert key == "optuna-dashboard" or "optuna-dashboard" not in str(
            service["command" if "command" in service else "image"]
        )


@pytest.mark.unit
def test_every_container_is_read_only_and_without_privileges() -> None:
    for service in services().values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service
        if OURS.fullmatch(service["image"]):
            assert service["user"] == "1000:1000"
            assert "cap_add" not in service


@pytest.mark.unit
def test_every_published_port_is_on_loopback() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert not any("network_mode" in service for service in services().values())


@pytest.mark.unit
def test_only_ray_s_own_containers_are_on_its_network_and_every_one_needs_the_token() -> None:
    assert set(nodes()) == {"head", "worker-1", "worker-2"}
    for key, service in services().items():
        assert ("cluster" in service["networks"]) == (key in nodes())
    for service in nodes().values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/token"
        assert "token" in service["secrets"]
        assert service["command"][:3] == ["tunefleet", "cluster", "start"]
        assert service["shm_size"]


@pytest.mark.unit
def test_secrets_are_files_that_neither_git_nor_the_image_ever_sees() -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["secrets"]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for secret in declared.values():
        assert secret["file"].startswith("secrets/")
    assert "docker/secrets/" in ignored
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert not any(fnmatch.fnmatch("docker/secrets/token", pattern) for pattern in kept)
    for service in services().values():
        assert set(service.get("secrets", ())) <= set(declared)
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"://[^/\s:@]+:[^@\s]+@", str(value))
            assert not re.search("PASSWORD|TOKEN|KEY", variable) or str(value).startswith("/run/secrets/")
