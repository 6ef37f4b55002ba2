"""The files of cluster/launch, and how tests read them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import yaml

import cluster

LAUNCH = Path(cluster.__file__).parent / "launch"
FILES = sorted(path for path in LAUNCH.rglob("*") if path.suffix in (".yaml", ".sh"))
RAY_UP = sorted(LAUNCH.glob("*.yaml"))
CLOUDS = [LAUNCH / "aws.yaml", LAUNCH / "gcp.yaml"]
KUBERAY = sorted((LAUNCH / "kuberay").glob("*.yaml"))
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


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
