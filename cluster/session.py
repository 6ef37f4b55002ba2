"""Joins or starts Ray for one run, and leaves it as it was found.

In: the `cluster:` section of a spec. Out: a `Session`, in a `with` block. Without an address a local Ray is started
(`cluster.local`) and removed at the end, processes and files. A cluster at an address is joined and left, never
stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.capacity import ClusterError, Node, startable, trial_resources
from cluster.environment import SETTINGS, temporary_environment
from cluster.gpu.mps import MpsDaemons, share_gpus
from cluster.gpu.packing import Packing
from cluster.local import local_ray
from cluster.nodes.autoscaling import may_grow, wait_for_nodes
from cluster.nodes.head import AUTH_MODE, Head, find_head
from cluster.preflight import check_nodes, do_nothing
from cluster.ray_compat.leaks import release_leaks
from cluster.ray_compat.own_node import started_head
from cluster.spec import ClusterSpec, TrialResources
from cluster.workers.code_shipping import code_environment, make_writable_folder
from cluster.workers.forking.server import Imports
from cluster.workers.prestart import prestart

__all__ = ["ClusterError", "Node", "Session", "connect"]


@dataclass(frozen=True)
class Session:
    """A connected Ray: its nodes, and what one trial of this run holds of them."""

    address: str | None  # host:port of the cluster; None: the local Ray of this run
    nodes: tuple[Node, ...]
    resources: TrialResources
    max_concurrent: int | None = None
    packing: Packing | None = None  # where trials share a GPU
    daemons: MpsDaemons | None = None  # the MPS daemons that a local Ray may start
    grows: bool = False  # a launcher may add nodes

    def packed(self, packing: Packing, resources: TrialResources) -> Session:
        """Returns the session with several trials on each GPU, under MPS where that is permitted.

        Raises:
            ClusterError: several trials per GPU on GPUs that accept one process each.
        """
        if packing.trials_per_gpu > 1:
            how = self.daemons.share() if self.daemons else share_gpus(self.nodes)
            packing = replace(packing, mps=how)
        return replace(self, packing=packing, resources=resources)

    @property
    def slots(self) -> int:
        """The number of trials that run at a time if nobody else uses the cluster."""
        held = sum(node.holds(self.resources) for node in self.nodes)
        return held if self.max_concurrent is None else min(held, self.max_concurrent)

    @property
    def limit(self) -> int:
        """The number of trials that are proposed at a time, at least one.

        That is the number of slots, and one more where the cluster may grow: an autoscaler needs a trial that waits. On
        a cluster `max_concurrent` is used even if the nodes hold fewer.
        """
        if self.address is not None and self.max_concurrent is not None:
            return self.max_concurrent
        return max(1, self.slots + self.grows)

    def refreshed(self) -> Session:
        """Returns the session with the nodes that are alive now."""
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        grows = any(may_grow(node.get("Labels") or {}) for node in alive)
        return replace(self, nodes=tuple(map(Node.from_ray, alive)), grows=grows)

    def slots_within_reach(self, held: int) -> int:
        """Returns how many of the slots this run holds or could hold now: others of the cluster hold the rest.

        Where it holds all of them, nobody is asked; else the head is, once.

        Args:
            held: slots that processes of this run hold.
        """
        import ray

        if held >= self.slots:
            return self.slots
        return min(self.slots, held + startable(self.resources, ray.available_resources()))

    @property
    def device(self) -> str:
        """The unit of cost: 'GPU' where trials hold GPUs, else 'CPU core'."""
        return "GPU" if self.resources.gpus else "CPU core"

    @property
    def devices_per_trial(self) -> float:
        """The number of GPUs that one trial holds, or of CPU cores if it holds no GPU."""
        return self.resources.gpus or self.resources.cpus

    @property
    def logical_gpus(self) -> bool:
        """True if GPUs were declared (`ray start --num-gpus`) without a device: trials then train on CPU."""
        return any(node.gpus and node.accelerator is None for node in self.nodes)

    def warm_up(self, trials: int, environment: Mapping[str, Any], workers: int = 1) -> None:
        """Starts the processes of the slots now, on a local Ray; elsewhere they start with the first trials.

        Args:
            trials: no more slots than that are needed.
            environment: the runtime environment of the trials' actors.
            workers: processes that compute one trial; several have one more that leads them.

        Raises:
            ClusterError: the local Ray does not answer.
        """
        if self.address is None:
            processes = workers + 1 if workers > 1 else 1
            prestart(min(self.slots, trials) * processes, environment)

    def describe(self) -> str:
        """Returns one line for the header of a run."""
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
    spec: ClusterSpec,
    *,
    run_folder: Path,
    modules: Sequence[str] = (),
    imports: Imports | None = None,
    compiled: Path | None = None,
    reads: Sequence[str] = (),
    prepare: Callable[[], None] = do_nothing,
) -> Iterator[Session]:
    """Connects to Ray for one run; leaves it (or stops it, if it was started here) when the block ends.

    A process that uses Ray already (a notebook) keeps it: it is used as it is and left running.

    Args:
        spec: the `cluster:` section of the experiment.
        run_folder: must be reachable from every node (unless the storage is a bucket); it is created.
        modules: top-level names of the user's own modules that workers import, shipped to a cluster that is joined.
        imports: modules that workers of a local Ray have from the start.
        compiled: a folder for a local Ray's compiled code that stays, closed to other accounts; None: it goes with Ray.
        reads: local files and folders that trials read.
        prepare: called once, before a local Ray starts, or while the nodes of a cluster are examined.

    Raises:
        ClusterError: the cluster cannot be reached, refuses us or cannot hold a trial; or some of its nodes cannot run
            trials, with the reasons (`cluster.preflight`).
    """
    import ray

    if ray.is_initialized():
        session = _session(spec, run_folder, _address_in_use(spec))
        if started_head():
            prepare()
        else:
            _check(session, spec, run_folder, modules, reads, prepare)
        yield session
    elif spec.address is None:
        with local_ray(spec, imports, compiled, prepare) as daemons:
            yield replace(_session(spec, run_folder, None), daemons=daemons)
    else:
        head = find_head(spec.address, allow_unauthenticated=spec.allow_unauthenticated, run_by=spec.run_by)
        with _joined(head, modules) as address:
            session = _session(spec, run_folder, address)
            _check(session, spec, run_folder, modules, reads, prepare)
            yield session


def _session(spec: ClusterSpec, run_folder: Path, address: str | None) -> Session:
    nodes = wait_for_nodes(spec)
    session = Session(address, nodes, trial_resources(spec, nodes), spec.max_concurrent)
    make_writable_folder(run_folder)
    return session


def _check(
    session: Session,
    spec: ClusterSpec,
    run_folder: Path,
    modules: Sequence[str],
    reads: Sequence[str],
    prepare: Callable[[], None],
) -> None:
    """Checks every node before the first trial, and releases what drivers that were killed have left on them."""
    from pyarrow.fs import LocalFileSystem

    from cluster.storage import is_uri, open_bucket

    storage = open_bucket(spec.storage) if is_uri(spec.storage) else (LocalFileSystem(), str(run_folder))
    release_leaks()
    check_nodes(session.nodes, *storage, modules=modules, reads=reads, meanwhile=prepare)


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
def _joined(head: Head, modules: Sequence[str]) -> Iterator[str]:
    import ray

    with temporary_environment({**SETTINGS, AUTH_MODE: head.auth_mode}):
        try:
            ray.init(
                address=head.address,
                log_to_driver=False,
                logging_level="warning",
                runtime_env=code_environment(modules),
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
