"""The two programs of `cluster.fork_server`, which says what they are for; run as a file, by path.

    fork_program.py serve FD SOCKET IMPORTS    the server: forks a worker for each launcher that asks
    fork_program.py --...                      the launcher, as Ray starts it in place of its own `setup_worker.py`

It imports none of ours: a launcher has to be up in a moment, and the server imports what it is told.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

SOCKET = "TUNEFLEET_FORK_SERVER"  # in the environment of the raylet, and so of launchers: the server's
RAYS_OWN = "TUNEFLEET_SETUP_WORKER"  # there, too: what Ray would have started
SERVE = "serve"
STREAMS = 3  # standard input, output, error
# Ray reads these once, when it is imported; with one driver and one node all workers have the same.
ONE_SESSION = ("RAY_JOB_ID", "RAY_RAYLET_PID")
GRACE_SECONDS = 5.0  # for workers to end by themselves after their driver
ASKING_SECONDS = 10.0  # for a launcher to say what it wants
REFUSED = -1000  # no exit status


class Server:
    """Forks a worker for each launcher that asks, and tells it how the worker ended.

    Args:
        prepare: called before the first fork, with the variables of `ONE_SESSION` in the environment.
    """

    def __init__(self, listening: socket.socket, prepare: Callable[[], None]) -> None:
        self._listening, self._prepare = listening, prepare
        self._session: dict[str, str] | None = None
        self._launchers: dict[int, socket.socket] = {}  # by the pid of the worker
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Until the driver has ended: None. In a worker: what it was asked to be."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    self._end()
                    return None
                if key.fileobj is self._listening:
                    if (request := self._fork()) is not None:
                        return request
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                else:
                    self._lost(key.fileobj)

    def _fork(self) -> Request | None:
        launcher, _ = self._listening.accept()
        launcher.settimeout(ASKING_SECONDS)
        try:
            request = Request.received(launcher)
        except (OSError, ValueError, EOFError):  # the launcher was killed while it asked
            launcher.close()
            return None
        session = {name: request.environment.get(name, "") for name in ONE_SESSION}
        if self._session is None:
            self._session = session
            os.environ.update(session)
            self._prepare()
        if session != self._session:
            with launcher, contextlib.suppress(OSError):
                launcher.sendall(struct.pack("!i", REFUSED))
            request.close()
            return None
        if (pid := os.fork()) == 0:
            for held in (*self._launchers.values(), launcher, self._listening, self._wake, self._woken):
                held.close()
            self._selector.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return request
        request.close()
        self._launchers[pid] = launcher
        self._selector.register(launcher, selectors.EVENT_READ)
        return None

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if (launcher := self._launchers.pop(pid, None)) is not None:
                    self._selector.unregister(launcher)
                    with launcher, contextlib.suppress(OSError):
                        launcher.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))

    def _lost(self, launcher: Any) -> None:
        """The launcher has ended; it is Ray's word that the worker should."""
        pid = next((pid for pid, one in self._launchers.items() if one is launcher), None)
        if pid is None:  # its worker has ended as well, a moment ago
            return
        del self._launchers[pid]
        self._selector.unregister(launcher)
        launcher.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Workers end with their raylet; those that do not are killed."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self._launchers and time.monotonic() < deadline:
            time.sleep(0.05)
            self._reap()
        for pid in self._launchers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Request:
    """What a launcher was started with: its arguments, its environment, its working directory, its streams."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
        self.arguments, self.environment, self.folder, self.streams = arguments, environment, folder, streams

    @classmethod
    def received(cls, launcher: socket.socket) -> Request:
        """As `send` sends it.

        Raises:
            EOFError: the launcher has ended.
        """
        head, streams, _, _ = socket.recv_fds(launcher, 8, STREAMS)
        while len(head) < 8:
            head += _some(launcher, 8 - len(head))
        (length,) = struct.unpack("!Q", head)
        body = b""
        while len(body) < length:
            body += _some(launcher, length - len(body))
        arguments, environment, folder = json.loads(body)
        return cls(arguments, environment, folder, list(streams))

    @staticmethod
    def send(server: socket.socket) -> None:
        """This process's own."""
        body = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(server, [struct.pack("!Q", len(body))], list(range(STREAMS)))
        server.sendall(body)

    def close(self) -> None:
        """The server keeps none of them."""
        for stream in self.streams:
            os.close(stream)

    def take(self) -> None:
        """Make this process the one that was asked for."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)


def _some(launcher: socket.socket, most: int) -> bytes:
    data = launcher.recv(min(most, 1 << 20))
    if not data:
        raise EOFError
    return data


def _become_worker(request: Request) -> None:
    """As `setup_worker.py` does it, but that this interpreter is the worker's."""
    import runpy

    from ray._private.utils import update_envs

    request.take()
    context, program = _parsed(request.arguments)
    update_envs(context.get("env_vars"))
    sys.argv, sys.path[:0] = program, [os.path.dirname(program[0])]
    runpy.run_path(program[0], run_name="__main__")


def _parsed(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The runtime environment that Ray has made, and the worker's program with its arguments."""
    named, program = {"--serialized-runtime-env-context": "{}", "--language": ""}, []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in named:
            named[name] = value
        else:
            program.append(argument)
    return json.loads(named["--serialized-runtime-env-context"] or "{}"), program


def _can_be_forked(arguments: list[str]) -> bool:
    """Whether the worker is to run in this very Python, as it is."""
    context, program = _parsed(arguments)
    other = [context.get("command_prefix"), context.get("override_worker_entrypoint"), context.get("java_jars")]
    same_python = context.get("py_executable") in (None, sys.executable)
    return same_python and not any(other) and bool(program) and program[0].endswith(".py")


def launch() -> int:
    """The exit status of the worker; or this process becomes what Ray would have started."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        if _can_be_forked(sys.argv[1:]):
            server.connect(os.environ[SOCKET])
            Request.send(server)
            if (status := _status(server)) != REFUSED:
                return status
    return os.execv(sys.executable, [sys.executable, os.environ[RAYS_OWN], *sys.argv[1:]])


def _status(server: socket.socket) -> int:
    try:
        answer = server.recv(4)
    except OSError:
        answer = b""
    if len(answer) < 4:
        return 1  # the server has ended, and the worker with it
    (status,) = struct.unpack("!i", answer)
    return int(status)


def main() -> None:
    """Either program."""
    del sys.path[0]  # the folder of this file, whose modules are no top-level ones
    if sys.argv[1:2] != [SERVE]:
        sys.exit(launch())
    _, _, fd, _, told = sys.argv
    early, last, paths = json.loads(told)

    def import_all(*modules: str) -> None:
        own, sys.path[:] = list(sys.path), paths
        for module in modules:
            importlib.import_module(module)
        sys.path[:] = own
        gc.collect()
        gc.freeze()  # or a worker's first collection writes on every page that it shares with the server

    # Ctrl-C is the driver's; workers get this from their raylet.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    import_all(*early)
    os.write(sys.stdout.fileno(), b".")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    request = Server(socket.socket(fileno=int(fd)), lambda: import_all("ray", last)).serve()
    if request is not None:
        _become_worker(request)


if __name__ == "__main__":
    main()
