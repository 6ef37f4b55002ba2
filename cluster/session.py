"""connect(): join or start Ray for one run, and leave it as it was found.

Without an address a Ray of our own is started: it lives in a folder of its own below the system's temporary folder,
wants a token that exists only in memory (its ports listen on every interface: without one, anybody on the network could
run code here), and is gone at the end, processes and files. A cluster at an address is joined and left, never stopped.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.capacity import ClusterError, Node, trial_resources
from cluster.head import AUTH_MODE, find_head
from cluster.mps import Daemon, share_on
from cluster.packing import Packing
from cluster.reach import check_storage, shipped
from cluster.spec import ClusterSpec, TrialResources
from cluster.warmup import prestart

__all__ = ["ClusterError", "Node", "Session", "connect"]

SOCKET_PATH_LIMIT = 107 if sys.platform.startswith("linux") else 103  # bytes of a Unix socket's path
SOCKET_BELOW_TEMP = 70  # bytes that Ray appends: /session_<time>_<pid>/sockets/plasma_store
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Session:
    """Ray, connected: what it has, and what one trial of this run holds of it."""

    address: str | None  # host:port of the cluster; None: the local Ray of this run
    nodes: tuple[Node, ...]
    resources: TrialResources
    max_concurrent: int | None = None
    packing: Packing | None = None  # where trials share a GPU
    daemon: Daemon | None = None  # the MPS that a local Ray may start

    def packed(self, packing: Packing, resources: TrialResources) -> Session:
        """The same Ray, with so many trials on each GPU, under MPS where that is permitted.

        Raises:
            ClusterError: several trials per GPU on GPUs that take one process each.
        """
        if packing.trials_per_gpu > 1:
            how = self.daemon.share() if self.daemon else share_on(self.nodes)
            packing = replace(packing, mps=how)
        return replace(self, packing=packing, resources=resources)

    @property
    def slots(self) -> int:
        """How many trials run at the same time if nobody else uses the cluster."""
        held = sum(node.holds(self.resources) for node in self.nodes)
        return held if self.max_concurrent is None else min(held, self.max_concurrent)

    @property
    def device(self) -> str:
        """What cost is counted in: 'GPU' where trials hold GPUs, else 'CPU core'."""
        return "GPU" if self.resources.gpus else "CPU core"

    @property
    def devices_per_trial(self) -> float:
        """GPUs of one trial, or its CPU cores where it holds no GPU."""
        return self.resources.gpus or self.resources.cpus

    @property
    def logical_gpus(self) -> bool:
        """GPUs were declared (`ray start --num-gpus`) where Ray finds no device: for placement, trials train on CPU."""
        return any(node.gpus and node.accelerator is None for node in self.nodes)

    def warm_up(self, trials: int, environment: Mapping[str, Any]) -> None:
        """Have the processes of the slots started now, on a local Ray. Elsewhere they start with the first trials.

        Args:
            trials: no more slots than these are needed.
            environment: the runtime environment of the trials' actors.

        Raises:
            ClusterError: the local Ray does not answer.
        """
        if self.address is None:
            prestart(min(self.slots, trials), environment)

    def describe(self) -> str:
        """One line for the header of a run."""
        where = "local Ray" if self.address is None else f"Ray at {self.address}"
        nodes = f"{len(self.nodes)} nodes, " if len(self.nodes) > 1 else ""
        gpus = sum(node.gpus for node in self.nodes)
        kind = "logical GPU" if self.logical_gpus else "GPU"
        has = f"{_count(sum(node.cpus for node in self.nodes), 'CPU')}, {_count(gpus, kind) if gpus else 'no GPU'}"
        each = _count(self.resources.cpus, "CPU")
        if self.resources.gpus:
            each += f" and {_count(self.resources.gpus, kind)}"
        note = "; no device behind the logical GPUs: trials train on CPU" if self.logical_gpus else ""
        if self.packing:
            note += f"; {self.packing.describe()}"
        return f"{where}: {nodes}{has}; {_count(self.slots, 'trial')} at a time, {each} each{note}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'s' if number > 1 else ''}"


@contextlib.contextmanager
def connect(
    spec: ClusterSpec, *, run_folder: Path, modules: Sequence[str] = (), preload: str | None = None
) -> Iterator[Session]:
    """Ray for one run; left (or, if it was started here, stopped) when the block ends, however it ends.

    A process that uses Ray already (a notebook) keeps it: it is used as it is and left running.

    Args:
        run_folder: must be reachable from every node; it is created, and looked for on the other machines.
        modules: top-level names of the user's own modules that workers import, shipped to machines other than this one.
        preload: a module that every worker of a local Ray imports as it starts.

    Raises:
        ClusterError: the cluster is unreachable, refuses us or cannot hold a trial.
    """
    import ray

    if ray.is_initialized():
        yield _session(spec, run_folder, _address_in_use(spec))
    elif spec.address is None:
        with _local_ray(spec, preload) as daemon:
            yield replace(_session(spec, run_folder, None), daemon=daemon)
    else:
        with _joined(spec.address, modules) as address:
            yield _session(spec, run_folder, address)


def _session(spec: ClusterSpec, run_folder: Path, address: str | None) -> Session:
    import ray

    nodes = tuple(Node.from_ray(node) for node in ray.nodes() if node["Alive"])
    session = Session(address, nodes, trial_resources(spec, nodes), spec.max_concurrent)
    check_storage(run_folder, nodes)
    return session


def _address_in_use(spec: ClusterSpec) -> str | None:
    import ray

    used = str(ray.get_runtime_context().gcs_address)
    if spec.address in (None, "auto"):
        return used
    if spec.address != used:
        raise ClusterError(
            f"cluster.address: {spec.address}, but this process already uses the Ray at {used}. "
            "Call ray.shutdown() first, or leave the address out."
        )
    return used


@contextlib.contextmanager
def _local_ray(spec: ClusterSpec, preload: str | None) -> Iterator[Daemon]:
    import ray

    settings = {
        **SETTINGS,
        AUTH_MODE: "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Workers are nice 15 by default: any other process would starve the trials.
        "RAY_worker_niceness": "0",
        # Workers start when `Session.warm_up` says how many are needed, not one per core of the machine.
        "RAY_prestart_worker_first_driver": "0",
        # Ray sets it when a trial begins, which is too late for a process that has imported torch by then.
        "OMP_NUM_THREADS": str(max(1, int(spec.cpus_per_trial))),
    }
    if preload is not None:
        settings["RAY_preload_python_modules"] = preload
    if os.environ.get(AUTH_MODE, "token").lower() != "token":
        del settings["RAY_AUTH_TOKEN"]  # switched off by the user's own RAY_AUTH_MODE, which stays
    with (
        _temporary_folder() as folder,
        Daemon(folder, wanted=spec.mps) as daemon,
        _environment(settings | litter_in(folder), always={"TMPDIR": folder, **daemon.settings}),
    ):
        try:
            ray.init(
                address="local",  # not None: that would join what RAY_ADDRESS names
                num_cpus=_cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="warning",
                _temp_dir=folder,
            )
            yield daemon
        finally:
            ray.shutdown(wait_for_processes=True)


def litter_in(folder: str) -> dict[str, str]:
    """What sends there the folder that torch makes when it is imported, here as well: this process has read TMPDIR."""
    return {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/torchinductor"}


@contextlib.contextmanager
def _joined(address: str, modules: Sequence[str]) -> Iterator[str]:
    import ray

    head = find_head(address)
    with _environment({**SETTINGS, AUTH_MODE: head.auth_mode}):
        try:
            ray.init(
                address=head.address,
                log_to_driver=False,
                logging_level="warning",
                runtime_env=shipped(head.hosts, modules),
            )
        except (ConnectionError, RuntimeError) as error:
            raise _cannot_join(head.address, error) from error
        try:
            yield head.address
        finally:
            ray.shutdown()


def _cannot_join(address: str, error: Exception) -> ClusterError:
    if "ersion mismatch" in str(error):
        return ClusterError(
            f"cluster.address: {address} runs other versions than this process. {error} "
            "Use the same Ray and Python on both sides."
        )
    return ClusterError(
        f"cluster.address: the head at {address} answers, but this machine cannot join it: {error}. "
        "Start from one of the cluster's machines (`ray start --address` makes this one), or use `tunefleet submit`."
    )


def _cores() -> int:
    """Cores of this machine that this process may use: Ray honours a container's quota, but no affinity mask."""
    from ray._private.utils import get_num_cpus

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else get_num_cpus()
    return max(1, min(int(get_num_cpus()), allowed))


@contextlib.contextmanager
def _environment(settings: Mapping[str, str], always: Mapping[str, str] | None = None) -> Iterator[None]:
    """`settings` in the environment, except where the user has set a variable; `always` in any case. As before at the
    end.
    """
    always = always or {}
    before: dict[str, Any] = {name: os.environ.get(name) for name in (*settings, *always)}
    os.environ.update({name: value for name, value in settings.items() if name not in os.environ} | dict(always))
    _reread_authentication()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread_authentication()


def _reread_authentication() -> None:
    """Ray reads RAY_AUTH_MODE and the token once, when it is imported: earlier than us, in a notebook."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder short enough for Ray's sockets, removed at the end."""
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
