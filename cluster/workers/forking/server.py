"""Starts worker processes by fork, from one process that has done the imports: in a moment, not in seconds.

Ray starts every worker as a fresh interpreter, which imports ray twice and then torch and transformers: five
CPU-seconds and, on a machine with slow disks or cores, much longer by the clock. Each study pays that for each of its
slots. On Linux a local Ray, and each node of `tunefleet cluster start`, has a *fork server* that imports them once,
before it has a thread or a device. Where Ray would start an interpreter it starts a *launcher*, which hands its
arguments, environment and standard streams to the fork server and waits for the process that this forks; that one
becomes Ray's worker.

    driver, or `ray start` --starts--> fork server --forks--> worker
    raylet ------------------starts--> launcher --requests--> fork server;  it ends as its worker does

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

from cluster.ray_compat.own_node import setup_worker_file
from cluster.workers.forking import launcher, program
from cluster.workers.forking.launcher import MARKED_ONLY, SETUP_WORKER, SOCKET
from cluster.workers.signals import signals_blocked

# Tune sets the first for a slot's imports. The second keeps torch from initialising CUDA, which children could not use.
IMPORT_SETTINGS = {"PL_DISABLE_FORK": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
BACKLOG = 512  # launchers that may wait while the server imports

logger = logging.getLogger(__name__)


class Imports(NamedTuple):
    """The modules that workers import. They must start no thread and use no device."""

    early: tuple[str, ...]  # imported while Ray starts; none of ours (a job brings its own), none that imports ray
    late: tuple[str, ...]  # imported when the first worker of a job is requested


LAUNCHER = launcher.__file__  # for Ray: in place of its own `setup_worker.py`


def launcher_settings() -> dict[str, str]:
    """Returns the variables that a raylet needs to start launchers, also without a fork server."""
    return {SETUP_WORKER: str(setup_worker_file())}


def can_fork() -> bool:
    """True if forking after imports is safe on this system."""
    return sys.platform == "linux"


class ForkServer:
    """A fork server, as a context: it starts at once, and imports while Ray starts.

    Args:
        path: of its socket, in a folder that is closed to other accounts.
        imports: modules that workers have from the start.
        shared: true on a node that serves several drivers: only workers of our runs are forked, those whose runtime
            environment has the mark, and none once an imported file has changed.
    """

    def __init__(self, path: Path, imports: Imports, *, shared: bool = False) -> None:
        self._path, self._imports, self._shared = path, imports, shared
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The variables that the raylet's environment must hold."""
        marked = {MARKED_ONLY: "1"} if self._shared else {}
        return {SOCKET: str(self._path), **launcher_settings(), **marked}

    @property
    def pid(self) -> int | None:
        """Process id of the server, while it runs; else None."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> ForkServer:
        listening = socket.socket(socket.AF_UNIX)
        with listening:
            listening.bind(str(self._path))
            listening.listen(BACKLOG)
            # It listens before it has imported anything: a launcher that connects early waits.
            fd, config = listening.fileno(), json.dumps([*self._imports, sys.path, self._shared])
            with signals_blocked(signal.SIGHUP, signal.SIGTERM):
                self._process = subprocess.Popen(
                    [sys.executable, program.__file__, str(fd), str(self._path), config],
                    stdin=subprocess.PIPE,  # the system closes it when this process ends
                    stdout=subprocess.PIPE,  # one byte when the imports are done
                    pass_fds=[fd],
                    env={"OMP_NUM_THREADS": "1", **os.environ, **IMPORT_SETTINGS},  # or numpy starts threads
                )
        return self

    def wait(self) -> None:
        """Waits until the imports are done or have failed: a study that begins then pays for its own work alone."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not self._process.stdout.read(1):
            logger.warning(
                "The process that workers are forked from has ended, with status %s; the reason stands above. Each "
                "worker now imports %s by itself, which takes some seconds.",
                self._process.wait(), ", ".join(self._imports.early + self._imports.late),
            )  # fmt: skip

    def end(self) -> None:
        """Ends the server, after Ray. Workers that still run get some seconds."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __exit__(self, *error: object) -> None:
        if error[0] is not None and self._process is not None:
            self._process.kill()  # in the middle of its imports it would end seconds later
        self.end()
