"""Worker processes by fork, from one process that has done the imports: a moment, not seconds.

Ray starts every worker as a fresh interpreter, which imports ray twice and then torch and transformers: five
CPU-seconds and, on a machine whose disk or cores are slow, much longer by the clock; each study pays that for each of
its slots. On Linux a local Ray, and each node of `tunefleet cluster start`, has a *fork server* that imports them once,
before it has a thread or a device. Where Ray would start an interpreter it starts a *launcher*, which hands its
arguments, environment and standard streams to the fork server and waits for the process that this forks; that one
becomes Ray's worker.

    driver, or `ray start` --starts--> fork server --forks--> worker
    raylet ------------------starts--> launcher ---asks-----> fork server;  it ends when its worker does, as that did

A launcher that is killed takes its worker along. The fork server ends with whoever started it, however that ends. Where
none answers, the launcher becomes what Ray would have started. Ray allows for workers that are no children of its own,
as in containers: it knows them by a token among their arguments. Read against ray 2.60: `RayParams.setup_worker_path`,
`ray/_private/workers/setup_worker.py`. Elsewhere than on Linux there is none: a fork after imports is not safe on
macOS.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from cluster.workers.forking import launcher, program
from cluster.workers.forking.launcher import MARKED_ONLY, SETUP_WORKER, SOCKET
from cluster.workers.signals import signals_blocked

# What a slot imports, which Tune marks by the first; and without a question to CUDA, or no child could use a device.
IMPORT_SETTINGS = {"PL_DISABLE_FORK": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
BACKLOG = 512  # launchers that may wait while the server imports

logger = logging.getLogger(__name__)


class Imports(NamedTuple):
    """What workers need, as names of modules. They must start no thread and touch no device."""

    early: tuple[str, ...]  # while Ray starts; none of ours, which a job brings, and none that imports ray
    late: tuple[str, ...]  # when the first worker of a job is asked for


LAUNCHER = launcher.__file__  # for Ray: in place of its own `setup_worker.py`


def launcher_settings() -> dict[str, str]:
    """What the environment of a raylet that starts launchers must hold, also without a fork server."""
    import ray

    return {SETUP_WORKER: str(Path(ray.__file__).parent / "_private" / "workers" / "setup_worker.py")}


def can_fork() -> bool:
    """Whether it is safe on this system."""
    return sys.platform == "linux"


class ForkServer:
    """A context: it starts at once, and imports while Ray starts.

    Args:
        place: of its socket; the folder is nobody else's.
        shared: by all drivers of a node, which come and go: only workers of ours are forked, those whose runtime
            environment has the mark, and none any more once an imported file has changed.
    """

    def __init__(self, place: Path, imports: Imports, *, shared: bool = False) -> None:
        self._place, self._imports, self._shared = place, imports, shared
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What the environment of the raylet must hold."""
        marked = {MARKED_ONLY: "1"} if self._shared else {}
        return {SOCKET: str(self._place), **launcher_settings(), **marked}

    @property
    def pid(self) -> int | None:
        """Of the server, while it runs."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> ForkServer:
        listening = socket.socket(socket.AF_UNIX)
        with listening:
            listening.bind(str(self._place))
            listening.listen(BACKLOG)
            # It listens before it has imported anything: a launcher that comes early waits.
            fd, told = listening.fileno(), json.dumps([*self._imports, sys.path, self._shared])
            with signals_blocked(signal.SIGHUP, signal.SIGTERM):
                self._process = subprocess.Popen(
                    [sys.executable, program.__file__, str(fd), str(self._place), told],
                    stdin=subprocess.PIPE,  # closed by the system when this process ends
                    stdout=subprocess.PIPE,  # a byte when it has imported
                    pass_fds=[fd],
                    env={"OMP_NUM_THREADS": "1", **os.environ, **IMPORT_SETTINGS},  # or numpy starts threads
                )
        return self

    def wait(self) -> None:
        """Until it has imported, or failed to: a study that begins then pays for its own work alone."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not self._process.stdout.read(1):
            logger.warning(
                "The process that workers are forked from has ended, with status %s; why stands above. Each worker now "
                "imports %s by itself, which takes it some seconds.",
                self._process.wait(), ", ".join(self._imports.early + self._imports.late),
            )  # fmt: skip

    def end(self) -> None:
        """When Ray has ended. Workers that have not by then get some seconds."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __exit__(self, *error: object) -> None:
        self.end()
