"""The launcher of a worker, as Ray starts it in place of its own `setup_worker.py`; see
`cluster.workers.forking.server`.

It requests a process from the fork server (`cluster.workers.forking.program`, at the other end of the socket), and
lives as long as that one. Without a server, or for a worker with another Python than the server's, it becomes what Ray
would have started.

    launcher ---version, description of the worker, its standard streams--------------> server
    launcher <---"F" (forked), and 4 bytes of exit status when the worker ends; or "R" (refused)--- server

It is run as a file, by path: it imports nothing of this package, and has to start at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import struct
import sys
from typing import Any

SOCKET = "TUNEFLEET_FORK_SERVER"  # variable of the raylet, and so of launchers: path of the server's socket
SETUP_WORKER = "TUNEFLEET_SETUP_WORKER"  # variable, too: path of what Ray would have started
MARKED_ONLY = "TUNEFLEET_FORK_MARKED"  # variable, too: only workers with the mark are forked (a shared node)
MARK = "TUNEFLEET_MAY_FORK"  # variable of the runtime environments of our runs
# Variables that a worker may receive after its imports; any other might have changed what an import does.
SAFE_VARIABLES = {MARK, "PYTHONPATH", "PL_DISABLE_FORK", "RAY_CHDIR_TO_TRIAL_DIR"}
SAFE_VARIABLES |= {"RAY_JOB_STOP_SIGNAL", "RAY_JOB_STOP_WAIT_TIME_S"}
SAFE_VARIABLES |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
FORKED, STATUS = b"F", struct.Struct("!i")
# As in `cluster.workers.forking.program`. A server of another version refuses: it is older than what is installed now.
HEAD, MAGIC, VERSION = struct.Struct("!4sIQ"), b"tffk", 3
STREAMS = 3  # standard input, output, error
OOM_SCORE = "/proc/{}/oom_score_adj"  # higher values are killed first when memory is short


def launch(arguments: list[str]) -> int:
    """Runs a worker through the fork server and returns its exit status; or this process becomes Ray's own program."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # its raylet may block it
    request = _worker_request(arguments) if SOCKET in os.environ else None
    if request is not None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.connect(os.environ[SOCKET])
            body = json.dumps(request).encode()
            socket.send_fds(server, [HEAD.pack(MAGIC, VERSION, len(body))], list(range(STREAMS)))
            server.sendall(body)
            if server.recv(1) == FORKED:
                _restore_oom_score()
                return _status(server)
    return os.execv(sys.executable, [sys.executable, os.environ[SETUP_WORKER], *arguments])


def _status(server: socket.socket) -> int:
    with contextlib.suppress(OSError):
        status = server.recv(STATUS.size)
        if len(status) == STATUS.size:
            return int(STATUS.unpack(status)[0])
    return 1  # the server has ended, and the worker with it


def _worker_request(arguments: list[str]) -> dict[str, Any] | None:
    """Describes the worker for the server; None if it needs another Python, or other variables, than the server's."""
    context, program = _parsed(arguments)
    variables, prefix = context.get("env_vars") or {}, context.get("command_prefix") or []
    if MARKED_ONLY in os.environ and (MARK not in variables or not SAFE_VARIABLES.issuperset(variables)):
        return None
    other = [context.get("override_worker_entrypoint"), context.get("java_jars")]
    same_python = context.get("py_executable") in (None, sys.executable)
    if any(other) or not same_python or not program or not program[0].endswith(".py"):
        return None
    folder = os.getcwd()
    if prefix:
        if prefix[0] != "cd" or prefix[2:] != ["&&"]:  # Ray's, for a working directory
            return None
        (folder,) = shlex.split(prefix[1])
    with open(OOM_SCORE.format("self")) as file:  # the raylet sets it
        oom_score = file.read()
    return {
        "program": program,
        "environment": dict(os.environ),
        "variables": variables,
        "folder": folder,
        "oom_score": oom_score,
    }


def _parsed(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Splits Ray's arguments into the runtime environment and the worker's program with its arguments."""
    named, program = {"--serialized-runtime-env-context": "{}", "--language": ""}, []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in named:
            named[name] = value
        else:
            program.append(argument)
    return json.loads(named["--serialized-runtime-env-context"] or "{}"), program


def _restore_oom_score() -> None:
    """Sets this process's OOM score to its raylet's: the kernel should kill the worker, not the launcher."""
    with contextlib.suppress(OSError):
        with open(OOM_SCORE.format(os.getppid())) as raylets:
            oom_score = raylets.read()
        with open(OOM_SCORE.format("self"), "w") as own:
            own.write(oom_score)


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
