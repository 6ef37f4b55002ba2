"""Ray's start hook: changes the node that `tunefleet cluster start` starts. It runs in the node's leader."""

from __future__ import annotations

import json
import os
import secrets
from typing import Any

from cluster.nodes.token_file import ray_folder
from cluster.workers.forking.server import LAUNCHER, ForkServer, Imports

HOOK = "RAY_START_HOOK"
HOOK_ARGUMENTS = "TUNEFLEET_START_HOOK"  # in the leader's environment: the arguments of `hook_settings`, as JSON
_fork_servers: list[ForkServer] = []  # they end with the leader


def hook_settings(*, ray_client: bool, imports: Imports | None) -> dict[str, str]:
    """Returns the variables that the leader's environment must hold.

    Args:
        ray_client: keep the port for ray:// clients, which tunefleet does not use. Ray has no option to close it.
        imports: modules that workers have from the start; None: Ray starts each as a fresh interpreter.
    """
    return {HOOK: f"{__name__}.{change_parameters.__name__}", HOOK_ARGUMENTS: json.dumps([ray_client, imports])}


def change_parameters(parameters: Any, is_head: bool) -> None:
    """Changes the parameters of a node. Called by `ray start` before it starts anything.

    Args:
        parameters: Ray's RayParams, which `ray start` has made from its options.
        is_head: true on a head.
    """
    if HOOK_ARGUMENTS not in os.environ:  # not called for a node of ours, but in a trial's environment
        return
    ray_client, imports = json.loads(os.environ.pop(HOOK_ARGUMENTS))
    del os.environ[HOOK]
    if is_head and not ray_client:
        parameters.ray_client_server_port = None
    if imports is not None:
        place = ray_folder(make=True).parent / f"forks-{secrets.token_hex(4)}"
        server = ForkServer(place, Imports(*map(tuple, imports)), shared=True).__enter__()
        _fork_servers.append(server)
        parameters.setup_worker_path = LAUNCHER
        os.environ.update(server.settings)
