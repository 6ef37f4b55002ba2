"""An MPS daemon of the benchmark's own for the first visible GPU, if this machine permits one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CONTROL, PIPES, LOGS = "nvidia-cuda-mps-control", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
SECONDS = 20.0  # for one call of the control program


class Daemon:
    """The daemon's folder from the start; the daemon itself runs between `start` and `end`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ladder-mps-"))
        self._started = False

    @property
    def client(self) -> dict[str, str | None]:
        """The variables of a process that shall find this daemon, and no other."""
        return {PIPES: str(self.folder)}

    def start(self) -> str | None:
        """Starts the daemon; returns why there is none, or None if it answers."""
        program = shutil.which(CONTROL)
        if program is None:
            return f"{CONTROL} is not on PATH"
        environment = os.environ | {PIPES: str(self.folder), LOGS: str(self.folder)}
        with (self.folder / "start.log").open("wb") as log:
            nothing = subprocess.DEVNULL
            subprocess.run([program, "-d"], env=environment, stdin=nothing, stdout=log, stderr=log, check=False)
        time.sleep(1)
        if not (self.folder / "control").exists():
            return (self.folder / "start.log").read_text(errors="replace").strip() or "it does not answer"
        self._started = True
        return None

    def end(self) -> None:
        """Ends the daemon, and removes its folder."""
        if self._started:
            environment = os.environ | {PIPES: str(self.folder)}
            subprocess.run(
                [CONTROL], input=b"quit -t 1\n", env=environment, capture_output=True, timeout=SECONDS, check=False
            )
        shutil.rmtree(self.folder, ignore_errors=True)
