"""Starts a Ray for one run: no more processes than trials need, closed to everybody else, and removed at the end.

It works in its own folder below the system's temporary folder, and requires a token that exists only in memory: its
ports listen on every interface, and without a token anybody on the network could run code here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.capacity import ClusterError
from cluster.environment import NO_METRICS, SETTINGS, compile_cache_settings, temporary_environment
from cluster.gpu.mps import MpsDaemons
from cluster.nodes.head import AUTH_MODE
from cluster.nodes.processes import wait_for_ends
from cluster.preflight import do_nothing
from cluster.ray_compat import own_node
from cluster.ray_compat.raylet import raylet_of
from cluster.spec import ClusterSpec
from cluster.workers.forking.server import LAUNCHER, ForkServer, Imports, can_fork, launcher_settings
from cluster.workers.signals import signals_blocked

if TYPE_CHECKING:
    import psutil

GRACE_SECONDS = 5.0  # for children of Ray's servers to end after them; then they are killed
SOCKET_PATH_LIMIT = 107 if sys.platform.startswith("linux") else 103  # bytes of a Unix socket's path
SOCKET_BELOW_TEMP = 74  # bytes that are appended: /ray/session_<time>_<pid>/sockets/plasma_store


@contextlib.contextmanager
def local_ray(
    spec: ClusterSpec,
    imports: Imports | None,
    compiled: Path | None = None,
    prepare: Callable[[], None] = do_nothing,
) -> Iterator[MpsDaemons]:
    """Starts a local Ray, whose workers have `imports` from the start; yields the MPS daemons that it may start.

    Args:
        spec: the `cluster:` section of the experiment.
        imports: modules that workers have from the start.
        compiled: a folder for torch's compiled code that stays, closed to other accounts; None: it goes with the run.
        prepare: called before Ray's servers start, while another process makes the imports. What it raises starts none.

    Raises:
        ClusterError: Ray's servers did not start.
    """
    with (
        _temporary_folder() as folder,
        MpsDaemons(folder, wanted=spec.mps) as daemons,
        temporary_environment(
            _settings(spec, imports) | compile_cache_settings(str(compiled or folder)),
            always={"TMPDIR": folder, **launcher_settings(), **daemons.settings},
        ),
        _forking(folder, imports) as server,
    ):
        prepare()
        try:
            _start(folder)
            _end_without_sigterm()
            if server:
                server.wait()
            yield daemons
        finally:
            _shut_down(folder, server)


def _settings(spec: ClusterSpec, imports: Imports | None) -> dict[str, str]:
    """Returns the environment variables of a local Ray, with a new token; those that the user has set stay."""
    settings = {
        **SETTINGS,
        **NO_METRICS,
        AUTH_MODE: "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Workers are nice 15 by default: any other process would starve the trials.
        "RAY_worker_niceness": "0",
        # Workers start when `Session.warm_up` says how many are needed, not one per core of the machine.
        "RAY_prestart_worker_first_driver": "0",
        # Ray sets it when a trial begins, which is too late for a process that has imported torch by then.
        "OMP_NUM_THREADS": str(max(1, int(spec.cpus_per_trial))),
    }
    if imports is not None:
        settings["RAY_preload_python_modules"] = ",".join(imports.late)
    if os.environ.get(AUTH_MODE, "token").lower() != "token":
        del settings["RAY_AUTH_TOKEN"]  # switched off by the user's own RAY_AUTH_MODE, which stays
    return settings


def _start(folder: str) -> None:
    import ray

    with (
        signals_blocked(signal.SIGHUP, signal.SIGTERM),
        own_node.without_services({"setup_worker_path": LAUNCHER}),
    ):
        try:
            ray.init(
                address="local",  # not None: that would join what RAY_ADDRESS names
                num_cpus=own_node.usable_cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="warning",
                _temp_dir=f"{folder}/ray",  # Ray makes it writable for every account; the one around it is closed
            )
        except Exception as error:  # Ray's own are of no common kind
            # Its servers have half a minute, on a busy machine or not.
            load, cores = os.getloadavg()[0], own_node.usable_cores()
            raise ClusterError(
                f"local Ray: its servers did not start ({type(error).__name__}: {error}). The load of this machine is "
                f"{load:.1f} on {cores} cores: above a few per core, try again when less runs here. Nothing is lost: "
                "`tunefleet resume` goes on from what is recorded."
            ) from error


def _end_without_sigterm() -> None:
    """Lets Ray end its servers without SIGTERM, which ours block: the raylet by its own call, the head by SIGKILL."""
    import ray

    (node,) = ray.nodes()

    def end_raylet() -> None:
        with contextlib.suppress(ClusterError), raylet_of(node) as raylet:  # Ray kills one that does not answer
            raylet.shut_down()

    (raylet,), (head,) = (own_node.servers()[kind] for kind in ("raylet", "gcs_server"))
    raylet.process.terminate, head.process.terminate = end_raylet, head.process.kill


def _shut_down(folder: str, server: ForkServer | None) -> None:
    """Ends the Ray that works in `folder`, and waits until the workers and agents below its servers have ended.

    `ray.shutdown` kills a raylet that is slow to end. Its agents then run for some seconds more, and a worker that it
    has just started runs until it misses the raylet.
    """
    import psutil
    import ray

    servers = own_node.servers().values()
    started = [psutil.Process(info.process.pid) for infos in servers for info in infos if info.process.poll() is None]
    below = {process for server in started for process in _children(server)}
    ray.shutdown(wait_for_processes=True)
    if server:
        server.end()
    below |= _started_in(folder)  # meanwhile, or left behind by a trial
    left = wait_for_ends(below, GRACE_SECONDS)
    for process in left:
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or has become another account's
            process.kill()
    wait_for_ends(left, GRACE_SECONDS)


def _started_in(folder: str) -> set[psutil.Process]:
    """Returns the processes of this account that belong to Ray and its trials.

    They have `folder` as TMPDIR in their environment, as no others do. A command line proves nothing: anybody may write
    one. Other children of this process (a library's, a notebook's) are not among them; they are its own to end.
    """
    import psutil

    others = {psutil.Process(), *_children(psutil.Process())}
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or not ours to look at
            if (
                process not in others
                and process.uids().real == os.getuid()
                and process.environ().get("TMPDIR") == folder
            ):
                found.add(process)
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.Error:  # ended by itself meanwhile
        return []


@contextlib.contextmanager
def _forking(folder: str, imports: Imports | None) -> Iterator[ForkServer | None]:
    """Runs a fork server that has made these imports in the block; yields None if workers cannot be forked here."""
    if imports is None or not can_fork():
        yield None
        return
    with ForkServer(Path(folder) / "forks", imports) as server, temporary_environment({}, always=server.settings):
        yield server


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """Makes a temporary folder whose path is short enough for Ray's sockets; it is removed at the end."""
    roots = [root for root in (tempfile.gettempdir(), "/tmp") if os.path.isdir(root)]
    longest = SOCKET_PATH_LIMIT - SOCKET_BELOW_TEMP - len("/tunefleet-12345678")
    root = next((root for root in roots if len(os.fsencode(root)) <= longest), None)
    if root is None:
        raise ClusterError(
            f"TMPDIR: {tempfile.gettempdir()} is longer than {longest} bytes, too long for Ray's sockets. "
            "Set TMPDIR to a shorter folder."
        )
    folder = tempfile.mkdtemp(prefix="tunefleet-", dir=root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
