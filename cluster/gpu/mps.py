"""NVIDIA's Multi-Process Service (MPS): kernels of several processes on one GPU at the same time instead of in turns.

Where several trials share a GPU, a local Ray starts a control daemon for this run, below the run's temporary folder,
and ends it after Ray. CUDA looks for a daemon when a process first uses the device, in the folder that
CUDA_MPS_PIPE_DIRECTORY names, and works without one if none answers. So the workers have that variable from the start,
and the trial that is measured before the daemon runs has the device for itself. The daemon needs no privileges in the
default compute mode. On a joined cluster it would have to outlive our tasks on each node, so it is only used where it
runs already. Source: docs.nvidia.com/deploy/mps and the manual page of nvidia-cuda-mps-control.
"""

from __future__ import annotations

import contextlib
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
DEFAULT_PIPES = "/tmp/nvidia-mps"
CONTROL = "nvidia-cuda-mps-control"
PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER")  # to the daemon; no token, no key
SECONDS = 30.0  # for one call of the control program
PROBE_SECONDS = 60.0  # a first worker on a node starts within this


class MpsDaemon:
    """The MPS daemon that a local Ray may start for itself; a context that ends it, if it was started.

    Args:
        folder: the temporary folder of the local Ray.
        wanted: if false, it is not started, and one that runs here already is not used.
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
        """Starts the daemon if that is permitted.

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
        """Returns why it could not be started, or None if it runs."""
        program = shutil.which(CONTROL)
        if not self._wanted:
            return "cluster.mps is false"
        if self._others:
            return f"another user's runs here ({self._others})"
        if program is None:
            return f"{CONTROL} is not on PATH"
        for folder in (self._pipes, self._logs):
            folder.mkdir(mode=0o700, exist_ok=True)
        start_log = self._logs / "start.log"  # not a pipe: the daemon may keep it open
        with start_log.open("wb") as log, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [program, "-d"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SECONDS,
                check=False,
            )
        if _answers(str(self._pipes)):
            return None
        return f"{CONTROL} -d failed: {start_log.read_text(errors='replace').strip() or 'it does not answer'}"

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if visible.startswith("GPU-"):  # numbers would be counted anew below the server, which sees all devices
            kept["CUDA_VISIBLE_DEVICES"] = visible
        return kept | self.settings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pid = self._pipes / f"{CONTROL}.pid"
        if not (self._pipes / "control").exists() or _send_command(str(self._pipes), "quit -t 5") is not None:
            return
        with contextlib.suppress(OSError, ValueError):  # no such file, or no such process any more
            os.kill(int(pid.read_text()), signal.SIGTERM)


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


def _exclusive() -> bool:
    """True if nvidia-smi reports that a GPU of this machine accepts one process only."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "Exclusive" in done.stdout
