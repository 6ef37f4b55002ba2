"""Launchers of forked workers, started as Ray starts a worker; the workers tell in JSON what they are."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import psutil

from cluster.workers.forking.server import LAUNCHER, ForkServer

OOM_SCORE = 700
PATIENCE = 60.0  # seconds for a process to say or do something on a busy machine

WORKER = """
import json, os, signal, sys, time
import __main__
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "arguments": sys.argv[1:],
    "folder": os.getcwd(), "input": sys.stdin.read(),
    "own": os.environ.get("OWN"), "expanded": os.environ.get("EXPANDED"), "left": os.environ.get("PL_DISABLE_FORK"),
    "imported": [name for name in ("ray", "colorsys", "antigravity") if name in sys.modules], "beside": sys.path[0],
    "job": os.environ.get("RAY_JOB_ID"), "path": sys.path,
    "main": hasattr(__main__, "WAITS"),
    "deaf": sorted(signal.Signals(number).name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
}), flush=True)
WAITS = float(sys.argv[1])
time.sleep(WAITS)
sys.exit(int(sys.argv[2]))
"""


def launched(
    server: ForkServer, folder: Path, *arguments: str, context: dict[str, object] | None = None, **variables: str
) -> subprocess.Popen[str]:
    """Starts a launcher as Ray starts a worker."""
    program = folder / "worker.py"
    program.write_text(WORKER)
    told = [f"--serialized-runtime-env-context={json.dumps(context or {})}", "--language=PYTHON"]
    environment = {**os.environ, **server.settings, "RAY_JOB_ID": "01", "RAY_RAYLET_PID": "7", **variables}
    # The raylet sets the score like this.
    with_oom_score = ["sh", "-c", f'echo {OOM_SCORE} > /proc/self/oom_score_adj; exec "$0" "$@"']
    return subprocess.Popen(
        [*with_oom_score, sys.executable, LAUNCHER, *told, str(program), *arguments],
        env=environment,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_by(launcher: subprocess.Popen[str]) -> dict[str, object]:
    """Returns the output of a launcher's worker, which has ended."""
    out, _ = launcher.communicate("typed", timeout=PATIENCE)
    found: dict[str, object] = json.loads(out)
    return found


def is_forked(launcher: subprocess.Popen[str]) -> bool:
    """True if the worker was forked; else the launcher has become Ray's own program."""
    out, _ = launcher.communicate(timeout=PATIENCE)
    return out.split() != [str(launcher.pid)]


def worker_of(launcher: subprocess.Popen[str]) -> psutil.Process:
    """Returns the worker of a launcher, once it runs."""
    assert launcher.stdin is not None
    launcher.stdin.close()
    return psutil.Process(json.loads(line_of(launcher))["pid"])


def line_of(process: subprocess.Popen[str]) -> str:
    """Returns the next line of a process."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE)[0], f"it has said nothing for {PATIENCE:g} s"
    return process.stdout.readline()
