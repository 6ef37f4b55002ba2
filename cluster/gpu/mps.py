"""NVIDIA's Multi-Process Service (MPS): kernels of several processes on one GPU at the same time instead of in turns.

Where several trials share a GPU, a local Ray starts a control daemon per GPU for this run, below the run's temporary
folder, and ends them after Ray. One for all GPUs would have one server: after a fatal fault on one GPU that accepts no
new process on any. CUDA looks for a daemon when a process first uses the device, in the folder that
CUDA_MPS_PIPE_DIRECTORY names, and works without one if none answers. So the workers have that variable from the start.
In the folder each daemon has one of its own, by Ray's id of the GPU, with the GPU's UUID in a file: a trial's process
takes both (`trainables.machine.devices`), since a daemon that knows a single GPU counts it as number 0. The trial that
is measured before the daemons run has the device for itself. They need no privileges in the default compute mode. On a
joined cluster they would have to outlive our tasks on each node, so MPS is only used where it runs already. Source:
docs.nvidia.com/deploy/mps and the manual page of nvidia-cuda-mps-control.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cluster.capacity import ClusterError, Node

PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
UUID_FILE = "uuid"  # in a daemon's folder: the UUID of its GPU
DEFAULT_PIPES = "/tmp/nvidia-mps"
CONTROL = "nvidia-cuda-mps-control"
QUERY = "index,uuid,name,compute_mode"  # of nvidia-smi
PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH")  # to the daemons; no token, no key
SECONDS = 30.0  # for one call of the control program
PROBE_SECONDS = 60.0  # a first worker on a node starts within this


class MpsDaemons:
    """The MPS daemons that a local Ray may start for itself; a context that ends those that were started.

    Args:
        folder: the temporary folder of the local Ray.
        wanted: if false, none is started, and one that runs here already is not used.
    """

    def __init__(self, folder: str, *, wanted: bool = True) -> None:
        self._pipes, self._logs = Path(folder) / "mps", Path(folder) / "mps-logs"
        self._wanted = wanted
        found = os.environ.get(PIPES, DEFAULT_PIPES)
        self._running = found if wanted and _answers(found) else None
        self._others = found if Path(found, "control").exists() and not _is_ours(found) else None

    @property
    def settings(self) -> dict[str, str]:
        """The variables that the workers' environment must hold; they replace what it holds."""
        return {} if self._running else {PIPES: str(self._pipes), LOGS: str(self._logs)}

    def share(self) -> str:
        """Starts a daemon for each GPU if that is permitted.

        Returns:
            How processes share a GPU from now on, as a clause for the run's header.

        Raises:
            ClusterError: the compute mode of the GPUs allows one process each.
        """
        if self._running:
            return f"under the MPS that runs here already ({self._running})"
        why = self._start()
        if why is None:
            return "under MPS, started for this run"
        if _exclusive():
            raise _one_process_each(why)
        return f"in time slices, without MPS: {why}"

    def _start(self) -> str | None:
        """Returns why they could not be started, or None if they run."""
        program = shutil.which(CONTROL)
        if not self._wanted:
            return "cluster.mps is false"
        if self._others:
            return f"another user's runs here ({self._others})"
        if program is None:
            return f"{CONTROL} is not on PATH"
        try:
            uuids = _uuids()
        except ClusterError as error:
            return str(error)
        for gpu, uuid in uuids.items():
            if (why := self._start_one(program, gpu, uuid)) is not None:
                self._end()
                return why
        return None

    def _start_one(self, program: str, gpu: str, uuid: str) -> str | None:
        """Starts the daemon of one GPU; returns why it could not be started, or None if it runs."""
        pipes, logs = self._pipes / gpu, self._logs / gpu
        for folder in (pipes.parent, logs.parent, pipes, logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        start_log = logs / "start.log"  # not a pipe: the daemon may keep it open
        with start_log.open("wb") as log, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [program, "-d"],
                env=kept | {PIPES: str(pipes), LOGS: str(logs), VISIBLE: uuid},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SECONDS,
                check=False,
            )
        if not _answers(str(pipes)):
            return f"{CONTROL} -d failed: {start_log.read_text(errors='replace').strip() or 'it does not answer'}"
        (pipes / UUID_FILE).write_text(uuid)
        return None

    def _end(self) -> None:
        """Ends the daemons that were started."""
        for pipes in self._pipes.glob("*/"):
            if not (pipes / "control").exists() or _send_command(str(pipes), "quit -t 5") is not None:
                continue
            with contextlib.suppress(OSError, ValueError):  # no such file, or no such process any more
                os.kill(int((pipes / f"{CONTROL}.pid").read_text()), signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


class NodeMps(NamedTuple):
    """The state of MPS on one node, as `probe_mps` found it."""

    serves: bool  # an MPS daemon runs that accepts our processes
    exclusive: bool  # a GPU accepts one process only, unless under MPS


def probe_mps() -> NodeMps:
    """Checks the machine that this runs on for MPS and for exclusive GPUs."""
    return NodeMps(_answers(os.environ.get(PIPES, DEFAULT_PIPES)), _exclusive())


def share_gpus(nodes: Sequence[Node]) -> str:
    """Returns how processes share a GPU on a cluster that others started, as a clause for the run's header.

    Raises:
        ClusterError: GPUs without MPS accept one process each; or a node does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0)(probe_mps)
    gpu_nodes = [node for node in nodes if node.gpus]
    pending = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote()
        for node in gpu_nodes
    ]
    try:
        found: list[NodeMps] = ray.get(pending, timeout=PROBE_SECONDS)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"cluster.mps: whether MPS runs on the nodes could not be asked: {error}. "
            "Look at the state of the nodes with `ray status`."
        ) from error
    without = [node.address for node, state in zip(gpu_nodes, found, strict=True) if not state.serves]
    why = f"none runs on {', '.join(without)}, and only a local Ray starts one"
    if any(state.exclusive and not state.serves for state in found):
        raise _one_process_each(why)
    return f"in time slices where there is no MPS: {why}" if without else "under the MPS of the cluster's nodes"


def _one_process_each(why: str) -> ClusterError:
    return ClusterError(
        f"cluster.gpus_per_trial: several trials per GPU, but the GPUs' compute mode takes one process each, and "
        f"there is no MPS to share them: {why}. Set it to 1, or start MPS first."
    )


def _is_ours(pipes: str) -> bool:
    """True if the daemon behind `pipes` is ours or the system's: it serves one user at a time.

    The folder, and a link that leads to it, must be ours or the system's, too: their owner could redirect this
    account's kernels to another daemon.
    """
    control = Path(pipes, "control")
    owners = {path.lstat().st_uid for path in (Path(pipes), Path(pipes).resolve(), control)}
    return owners <= {os.getuid(), 0} and not control.is_symlink()


def _answers(pipes: str) -> bool:
    """True if a daemon answers there. Without the control program (in a container), its socket is enough."""
    if not Path(pipes, "control").exists() or not _is_ours(pipes):
        return False
    return shutil.which(CONTROL) is None or _send_command(pipes, "get_server_list") is not None


def _send_command(pipes: str, command: str) -> str | None:
    """Sends a command to the daemon; returns its answer, or None if none answers."""
    try:
        done = subprocess.run(
            [CONTROL],
            input=f"{command}\n",
            env=os.environ | {PIPES: pipes},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class _Gpu(NamedTuple):
    """A GPU of this machine as nvidia-smi lists it, in the order of the PCI bus: what `QUERY` asks for."""

    number: str
    uuid: str
    name: str
    compute_mode: str


def _gpus() -> list[_Gpu]:
    """The GPUs of this machine; empty where nvidia-smi reports none."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = csv.reader(done.stdout.splitlines(), skipinitialspace=True)
    return [_Gpu(*row) for row in rows if len(row) == len(_Gpu._fields)]


def _uuids() -> dict[str, str]:
    """The UUIDs of the GPUs that this process may use, by Ray's ids: the names in CUDA_VISIBLE_DEVICES, else numbers.

    Raises:
        ClusterError: a UUID is not known; the message is a clause.
    """
    gpus, visible = _gpus(), os.environ.get(VISIBLE)
    if visible is None:
        if not gpus:
            raise ClusterError("nvidia-smi lists no GPU")
        return {gpu.number: gpu.uuid for gpu in gpus}
    names = [name.strip() for name in visible.split(",") if name.strip()]
    by_number = {gpu.number: gpu.uuid for gpu in gpus}
    uuids = {name: name if name.startswith(("GPU-", "MIG-")) else by_number.get(name, "") for name in names}
    if unknown := [name for name, uuid in uuids.items() if not uuid]:
        raise ClusterError(f"nvidia-smi lists no GPU {unknown[0]}, which {VISIBLE} names")
    numbered = any(name in by_number for name in names)
    if numbered and len({gpu.name for gpu in gpus}) > 1 and os.environ.get(ORDER) != "PCI_BUS_ID":
        raise ClusterError(
            f"the GPUs differ, so their numbers in {VISIBLE} may be CUDA's or nvidia-smi's: name them by UUID there, "
            f"or set {ORDER}=PCI_BUS_ID"
        )
    return uuids


def _exclusive() -> bool:
    """True if nvidia-smi reports that a GPU of this machine accepts one process only."""
    return any("Exclusive" in gpu.compute_mode for gpu in _gpus())
