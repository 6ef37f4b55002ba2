"""Starts one node of a cluster: `ray start` with a token, a dashboard on loopback and as few open ports as possible.

The node is a process of `ray start --block`, the leader, whose end ends all others. It is recorded below
~/.ray/tunefleet, so that `stop_nodes` ends exactly what was started here and nothing else.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.capacity import ClusterError
from cluster.environment import NO_METRICS, SETTINGS, compile_cache_settings
from cluster.nodes.head import AUTH_MODE, refuse_foreign_head
from cluster.nodes.processes import ProcessMark, find_process, mark_of, wait_for_ends
from cluster.nodes.start_hook import HOOK, hook_settings
from cluster.nodes.token_file import TokenSource, ray_folder, token_source
from cluster.ray_compat.head_service import forget_written_address, machines_of, own_token
from cluster.workers.forking.server import Imports, can_fork

START_SECONDS = 120.0  # a cold file system: Ray's processes import for a while
STOP_SECONDS = 60.0  # the leader drains its node and ends the others
# A node that is gone is noticed after five failed checks: 10 s, where Ray's own 3 s between two make it 15.
HEALTH = {"RAY_health_check_period_ms": "2000"}
CLIENT_PORT, DASHBOARD_HOST, BLOCK = "--ray-client-server-port", "--dashboard-host", "--block"
ISOLATION = "--enable-resource-isolation"  # in cgroups, which Ray moves the processes into that it has started itself
OURS = ("--head", "--address")


class StartedNode(NamedTuple):
    """A node that was started and runs."""

    address: str  # host:port of the head
    dashboard: str | None  # host:port of the Jobs API on a head
    token: TokenSource
    log: Path


def start_node(head: str | None, options: Sequence[str], imports: Imports | None) -> StartedNode:
    """Starts Ray on this machine, in the background; with `--block` among the options it replaces this process.

    Args:
        head: host:port of the head to join; None: be the head.
        options: further options of `ray start`.
        imports: modules that our workers on this node have from the start; None: each is a fresh interpreter.

    Raises:
        ClusterError: no token or one that others can read, a head that refuses it or requires none, or Ray fails.
    """
    _refuse_options(options)
    token = token_source(make=head is None)
    environment = _environment(head is None, options, imports)
    if head is not None:
        _refuse_head(head)
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", *_arguments(head), *options]
    if BLOCK in options:
        if token.made:
            print(f"tunefleet: a token was made: {token.file}", file=sys.stderr, flush=True)
        os.execve(sys.executable, command, environment)
    log = _folder() / f"{socket.gethostname()}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    with log.open("x") as file:
        process = subprocess.Popen(
            [*command, BLOCK, "--log-color=false"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=environment,
        )
    _record_process(process.pid, log)
    output = _wait_until_started(process, log)
    if head is not None:
        return StartedNode(head, None, token, log)
    address = re.search(r"ray start --address='([^']+)'", output)
    dashboard = re.search(r"RAY_API_SERVER_ADDRESS='http://([^']+)'", output)
    if address is None:
        raise ClusterError(f"Ray started, but does not say where. See {log}; `tunefleet cluster stop` ends it.")
    return StartedNode(address[1], dashboard[1] if dashboard else None, token, log)


def exposed_dashboard(options: Sequence[str]) -> str | None:
    """Returns the host that the options of `ray start` bind the dashboard to, if other machines reach it; else None."""
    words = [word for option in options for word in option.split("=", 1)]
    hosts = [host for name, host in itertools.pairwise(words) if name == DASHBOARD_HOST]
    return next((host for host in hosts if host not in ("127.0.0.1", "::1", "localhost")), None)


def _refuse_options(options: Sequence[str]) -> None:
    names = [option.partition("=")[0] for option in options]
    for name in OURS:
        if name in names:
            raise ClusterError(f"{name}: after `--` stand only other options of `ray start`. Put {name} before it.")
    if (mode := os.environ.get(AUTH_MODE, "token").lower()) != "token":
        raise ClusterError(
            f"{AUTH_MODE}: {mode}, but `tunefleet cluster start` starts only what asks for a token. Unset it, or use "
            "`ray start` on a network that is closed to everybody else."
        )
    if (hook := os.environ.get(HOOK)) is not None:
        raise ClusterError(
            f"{HOOK}: {hook}, but `tunefleet cluster start` closes ports and forks workers by a hook of its own, and "
            "Ray calls one. Unset it, or use `ray start`."
        )


def _environment(is_head: bool, options: Sequence[str], imports: Imports | None) -> dict[str, str]:
    """Returns the environment of Ray's processes and the trials; it holds the token only if the user's does."""
    # torch loads compiled code from a folder in /tmp that anybody could have made before.
    closed = compile_cache_settings(str(ray_folder(make=True).parent))
    settings: Mapping[str, str] = {**SETTINGS, **NO_METRICS, **closed, AUTH_MODE: "token"}
    if is_head:
        settings = {**settings, **HEALTH}
    named = [option.partition("=")[0] for option in options]
    forks = can_fork() and ISOLATION not in named
    settings = {**settings, **hook_settings(ray_client=CLIENT_PORT in named, imports=imports if forks else None)}
    return {**settings, **os.environ}


def _arguments(head: str | None) -> list[str]:
    folder = f"--temp-dir={ray_folder(make=True)}"
    if head is not None:
        return [folder, f"--address={head}"]
    return [folder, "--head", f"{DASHBOARD_HOST}=127.0.0.1", "--disable-usage-stats"]


def _refuse_head(address: str) -> None:
    """Refuses a wrong head before anything starts; `ray start` itself would only report that it cannot connect."""
    refuse_foreign_head("--address", address)
    if machines_of(address, token=None) is not None:
        raise ClusterError(
            f"--address: {address} asks for no token: whoever reaches its ports would run code here, too. Start the "
            "head with `tunefleet cluster start --head`."
        )
    if machines_of(address, own_token()) is None:
        raise ClusterError(
            f"--address: the head at {address} refused the token of this machine. Copy the head's own to here."
        )


def _folder() -> Path:
    folder = Path.home() / ".ray" / "tunefleet"
    for place in (folder.parent, folder):  # the token lies in the first: no umask may open it
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _record_process(pid: int, log: Path) -> None:
    """Records the process and when it began: its number alone may be another process's later."""
    log.with_suffix(".json").write_text(json.dumps(mark_of(pid)._asdict()))


def _wait_until_started(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until the node runs, and returns what `ray start` has printed, which holds the addresses."""
    deadline = time.monotonic() + START_SECONDS
    while "block forever" not in (output := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            log.with_suffix(".json").unlink(missing_ok=True)
            lines = [line for line in output.splitlines() if line.strip()]
            raise ClusterError("Ray did not start. Its output:\n  " + "\n  ".join(lines[-8:]) + f"\nMore in {log}")
        time.sleep(0.1)
    return output


def stop_nodes() -> int:
    """Ends the nodes that `start_node` started on this machine, last first, with their trials; returns their number.

    Raises:
        ClusterError: one does not end.
    """
    import psutil

    records = sorted(_folder().glob(f"{socket.gethostname()}-*.json"), key=lambda path: path.stat().st_mtime)
    stopped = 0
    for record in reversed(records):
        mark = ProcessMark(**{"boot": None, **json.loads(record.read_text())})
        try:
            if (process := find_process(mark)) is not None:
                below = process.children(recursive=True)
                process.terminate()
                process.wait(STOP_SECONDS)
                wait_for_ends(below, STOP_SECONDS)  # the fork server, which ends with the leader
                stopped += 1
                record.with_suffix(".log").unlink(missing_ok=True)
        except psutil.NoSuchProcess:
            pass  # it ended by itself; its log may say why
        except psutil.TimeoutExpired as error:
            raise ClusterError(
                f"the node of process {mark.pid} still runs {STOP_SECONDS:g} s after it was asked to end. "
                f"See {record.with_suffix('.log')}."
            ) from error
        record.unlink()
    forget_written_address(ray_folder(make=False))
    return stopped
