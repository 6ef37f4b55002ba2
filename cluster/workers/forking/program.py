"""The program of the fork server: processes that have done their imports, and fork workers.

    program.py FD SOCKET CONFIG

The *zygote* has imported all that does not import ray. Ray reads the id of its job when its library is loaded. So each
job gets a *job zygote*, forked from the zygote, that imports the rest, forks the job's workers, and ends soon after the
last of them.

    launcher ---description of the worker---> zygote ---the same, and its socket---> job zygote --forks--> worker
    launcher <--"F", and the worker's exit status---------------------------------- job zygote

It is run as a file, by path: it imports nothing of this package but what its configuration names. So the one private
function of Ray that it calls (`update_envs`, as `setup_worker.py` does) is named here and not in `cluster.ray_compat`.
The purpose is in `cluster.workers.forking.server`, the launchers' side in `cluster.workers.forking.launcher`.
"""

from __future__ import annotations

import abc
import contextlib
import errno
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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

FORKED, REFUSED, STATUS = b"F", b"R", struct.Struct("!i")
HEAD, MAGIC, VERSION = struct.Struct("!4sIQ"), b"tffk", 3  # of a request: the version, and the length of the JSON
LONGEST = 1 << 24  # bytes of JSON; the system allows less for arguments and environment together
STREAMS = 3  # standard input, output, error
JOB_VARIABLES = ("RAY_JOB_ID", "RAY_RAYLET_PID")  # Ray reads them when its library is loaded
GRACE_SECONDS = 5.0  # for workers to end by themselves after their driver
REQUEST_SECONDS = 10.0  # for a launcher to send its whole request
IDLE_SECONDS = 60.0  # after which a job zygote without a worker ends


class ForkConfig(NamedTuple):
    """The configuration of this program, as JSON among its arguments."""

    early: list[str]  # modules that the zygote imports
    late: list[str]  # modules that a job zygote imports
    paths: list[str]  # sys.path for both
    outlives: bool  # true if the node serves several drivers: installed files may change meanwhile


class Refused(Exception):
    """A request that this program does not answer with a worker; the message says why."""


@dataclass
class WorkerRequest:
    """Describes the worker that a launcher requests."""

    program: list[str]  # with its arguments
    environment: dict[str, str]  # the launcher's
    variables: dict[str, str]  # those of its runtime environment
    folder: str  # to work in
    oom_score: str  # /proc/self/oom_score_adj
    sockets: list[int]  # descriptors: standard streams and, in a job zygote, the launcher's socket

    @property
    def folders(self) -> list[str]:
        """The folders of the worker's PYTHONPATH."""
        return path_entries(self.variables.get("PYTHONPATH") or self.environment.get("PYTHONPATH"))

    @property
    def job(self) -> tuple[str, ...]:
        """Identifies the job whose workers import the same modules."""
        return (*(self.environment.get(name, "") for name in JOB_VARIABLES), *self.folders)

    @classmethod
    def received(cls, sender: socket.socket, sockets: int, seconds: float | None = None) -> WorkerRequest:
        """Receives a request, as `send` writes it. On an error no received descriptor stays open.

        Args:
            sender: the connection.
            sockets: how many descriptors must come with it.
            seconds: within which all of it must arrive; None: no limit.

        Raises:
            EOFError: the sender has ended.
            TimeoutError: not all of it has arrived in time.
            Refused: this program does not know such a request.
        """
        until = None if seconds is None else time.monotonic() + seconds
        came: list[int] = []
        try:
            sender.settimeout(seconds)
            head, came, _, _ = socket.recv_fds(sender, HEAD.size, STREAMS + 1)
            head += _read(sender, HEAD.size - len(head), until)
            magic, version, length = HEAD.unpack(head)
            if magic != MAGIC or length > LONGEST:
                raise Refused("no request of a launcher")
            body = _read(sender, length, until)
            if version != VERSION:
                raise Refused(f"a launcher speaks version {version} of the protocol, this program {VERSION}")
            if len(came) != sockets:  # the system drops those for which this process has no room
                raise Refused(f"{len(came)} of {sockets} descriptors came along")
            return cls(**_checked(body), sockets=list(came))
        except BaseException:
            for number in came:
                os.close(number)
            raise

    def send(self, job_zygote: socket.socket, launcher: socket.socket) -> None:
        """Sends the request and the launcher's socket to a job zygote."""
        body = json.dumps({name: value for name, value in vars(self).items() if name != "sockets"}).encode()
        socket.send_fds(job_zygote, [HEAD.pack(MAGIC, VERSION, len(body))], [*self.sockets, launcher.fileno()])
        job_zygote.sendall(body)

    def close(self) -> None:
        """Closes the standard streams; called once the request was sent on, or its worker forked."""
        for number in self.sockets[:STREAMS]:
            os.close(number)

    def become(self, own: list[str]) -> None:
        """Turns this process into the worker, as Ray's `setup_worker.py` does, but in this interpreter.

        Args:
            own: the folders of this interpreter's PYTHONPATH, which the worker's replace.
        """
        import runpy

        from ray._private.utils import update_envs

        for number, stream in enumerate(self.sockets[:STREAMS]):
            os.dup2(stream, number)
        self.close()
        os.setpgid(0, 0)  # as Ray does: a signal to the driver's process group must not reach workers
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # by which its raylet ends it
        os.environ.clear()
        os.environ.update(self.environment)
        update_envs(self.variables)
        os.chdir(self.folder)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(self.oom_score)
        others = [path for path in sys.path if path not in own]
        sys.argv, sys.path[:] = self.program, [os.path.dirname(self.program[0]), *self.folders, *others]
        runpy.run_path(self.program[0], run_name="__main__")


KINDS = {"program": list, "environment": dict, "variables": dict, "folder": str, "oom_score": str}


def _checked(body: bytes) -> dict[str, Any]:
    """Parses the fields of a request, without its descriptors.

    Raises:
        Refused: it has other fields, or fields of other types.
    """
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise Refused(f"a request that is no JSON ({error})") from None
    if not isinstance(fields, dict) or fields.keys() != KINDS.keys():
        raise Refused(f"a request of other fields than {', '.join(KINDS)}")
    for name, kind in KINDS.items():
        value = fields[name]
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(part, str) for part in parts):
            raise Refused(f"a request whose {name} is not what it should be")
    if not fields["program"]:
        raise Refused("a request without a program")
    return fields


def _read(sender: socket.socket, length: int, until: float | None) -> bytes:
    """Reads exactly `length` bytes.

    Raises:
        EOFError: the sender has ended.
        TimeoutError: it is later than `until`.
    """
    parts, left = [], length
    while left:
        if until is not None:
            sender.settimeout(max(0.001, until - time.monotonic()))
        data = sender.recv(min(left, 1 << 20))
        if not data:
            raise EOFError
        parts.append(data)
        left -= len(data)
        if until is not None and left and time.monotonic() >= until:
            raise TimeoutError
    return b"".join(parts)


def refuse(launcher: socket.socket, reason: object) -> None:
    """Makes a launcher start Ray's own program, and logs the reason."""
    print(f"tunefleet: a worker is started by Ray itself, not forked: {reason}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        launcher.sendall(REFUSED)


@contextlib.contextmanager
def exit_on_failure() -> Iterator[None]:
    """Ends a forked child if the block fails: it must never continue as a second copy of its parent."""
    try:
        yield
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def path_entries(variable: str | None) -> list[str]:
    """Splits a PYTHONPATH into absolute folders, as sys.path holds them."""
    return [os.path.abspath(path) for path in (variable or "").split(os.pathsep) if path]


class Parent(abc.ABC):
    """Waits for messages on its connections, and for its children to end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def wait_for_readable(self, seconds: float | None = None) -> list[Any]:
        """Waits at most `seconds`; returns the connections that can be read, and reaps children that have ended."""
        readable = [key.fileobj for key, _ in self._selector.select(seconds)]
        if self._woken in readable:
            readable.remove(self._woken)
            self._woken.recv(4096)
            self.reap()
        return readable

    def reap(self) -> None:
        """Calls `on_exit` for all children that have ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                self.on_exit(pid, os.waitstatus_to_exitcode(status))

    @abc.abstractmethod
    def on_exit(self, pid: int, status: int) -> None:
        """Called when a child exits; `status` is its exit code."""

    def close_inherited(self) -> None:
        """Closes what belongs to the parent. Called in a forked child."""
        for end in (self._wake, self._woken):
            end.close()
        self._selector.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Zygote(Parent):
    """Passes each request to the job zygote of its job."""

    def __init__(self, listening: socket.socket, config: ForkConfig, own: list[str]) -> None:
        super().__init__()
        self._listening, self._own = listening, own
        self._spare = os.open(os.devnull, os.O_RDONLY)  # closed for a moment when no descriptor is left
        self._job_zygotes: dict[tuple[str, ...], tuple[int, socket.socket]] = {}  # pid, and its connection
        self._pending: dict[socket.socket, float] = {}  # launchers whose request is awaited, and the deadline
        self._names = {name.partition(".")[0] for name in sys.modules}
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} if config.outlives else ()
        self._files = {file: _written(file) for file in files if file}
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def serve(self) -> tuple[WorkerRequest, socket.socket] | None:
        """Serves launchers until whoever started this program has ended; then returns None.

        In a forked job zygote it returns the first request, and the connection for further ones.
        """
        while True:
            readable = self.wait_for_readable(REQUEST_SECONDS if self._pending else None)
            if sys.stdin in readable:
                self._end()
                return None
            if self._listening in readable:
                self._accept()
            for launcher in [one for one in readable if one in self._pending]:
                if (forked := self._receive(launcher)) is not None:
                    return forked
            for launcher, until in list(self._pending.items()):
                if time.monotonic() >= until:
                    refuse(launcher, f"a launcher has sent nothing in {REQUEST_SECONDS:g} s")
                    self._forget(launcher)

    def _end(self) -> None:
        """Ends all job zygotes."""
        self._selector.unregister(sys.stdin)
        self._selector.unregister(self._listening)
        for launcher in list(self._pending):
            self._forget(launcher)
        for _, control in self._job_zygotes.values():
            control.close()
        while self._job_zygotes:
            self.wait_for_readable()

    def _accept(self) -> None:
        try:
            launcher, _ = self._listening.accept()
        except OSError as error:  # it has ended; or there is no descriptor left
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse_without_descriptor(error)
            return
        self._pending[launcher] = time.monotonic() + REQUEST_SECONDS
        self._selector.register(launcher, selectors.EVENT_READ)

    def _forget(self, launcher: socket.socket) -> None:
        del self._pending[launcher]
        self._selector.unregister(launcher)
        launcher.close()

    def _receive(self, launcher: socket.socket) -> tuple[WorkerRequest, socket.socket] | None:
        """Receives and answers a launcher's request; no error of one keeps the others from being answered."""
        try:
            request = WorkerRequest.received(launcher, STREAMS, REQUEST_SECONDS)
            try:
                return self._answer(request, launcher)
            finally:
                request.close()
        except TimeoutError:
            refuse(launcher, f"a launcher has sent half of its request in {REQUEST_SECONDS:g} s")
        except EOFError:  # it was killed while it asked
            pass
        except Exception as error:
            refuse(launcher, error)
        finally:
            if launcher in self._pending:
                self._forget(launcher)
        return None

    def _answer(self, request: WorkerRequest, launcher: socket.socket) -> tuple[WorkerRequest, socket.socket] | None:
        """Passes a request to its job zygote, forked first if need be; in the fork, returns what `serve` does."""
        if (job_zygote := self._job_zygotes.get(request.job)) is not None:
            try:
                request.send(job_zygote[1], launcher)
                return None
            except BrokenPipeError:  # it ended a moment ago
                self.on_exit(job_zygote[0], 0)
        if self._would_import_others(request):
            launcher.sendall(REFUSED)
            return None
        if (forked := self._fork(request)) is None:
            request.send(self._job_zygotes[request.job][1], launcher)
        return forked

    def _refuse_without_descriptor(self, error: OSError) -> None:
        """Refuses a launcher when no descriptor is left, with the spare one; else it would wait forever."""
        os.close(self._spare)
        try:
            with contextlib.suppress(OSError):
                launcher, _ = self._listening.accept()
                with launcher:
                    refuse(launcher, error)
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _fork(self, request: WorkerRequest) -> tuple[WorkerRequest, socket.socket] | None:
        ours, its = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            its.close()
            raise
        if pid == 0:
            with exit_on_failure():
                for held in (
                    self._listening,
                    ours,
                    *self._pending,
                    *(control for _, control in self._job_zygotes.values()),
                ):
                    held.close()
                self._pending.clear()
                os.close(self._spare)
                self.close_inherited()
            return request, its
        its.close()
        self._job_zygotes[request.job] = pid, ours
        return None

    def on_exit(self, pid: int, status: int) -> None:
        """Called when a job zygote exits: its job has no more workers, or it could not import."""
        for job, (its, control) in list(self._job_zygotes.items()):
            if its == pid:
                control.close()
                del self._job_zygotes[job]

    def _would_import_others(self, request: WorkerRequest) -> bool:
        """True if a process that imports by itself would import other files than this one has."""
        added = [folder for folder in request.folders if folder not in self._own and os.path.isdir(folder)]
        names = {name.partition(".")[0] for folder in added for name in os.listdir(folder)}
        if not self._names.isdisjoint(names):
            return True
        changed = [file for file, written in self._files.items() if _written(file) != written]
        if changed:
            print(
                f"tunefleet: {len(changed)} files have changed since this node was started, such as {changed[0]}. The "
                f"workers of job {request.job[0]} import by themselves; start the node again, and they are forked.",
                file=sys.stderr,
                flush=True,
            )
        return bool(changed)


def _written(file: str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class JobZygote(Parent):
    """Forks a worker for each request that the zygote passes on, and reports its exit status to the launcher."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control
        self._launchers: dict[int, socket.socket] = {}  # by the pid of the worker
        self._idle_until = time.monotonic() + IDLE_SECONDS
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> WorkerRequest | None:
        """Serves requests until the zygote has ended, or there was no worker for a while; then returns None.

        In a forked worker it returns the request.
        """
        while True:
            left = self._idle_until - time.monotonic()
            readable = self.wait_for_readable(None if self._launchers else max(0.0, left))
            if not self._launchers and not readable and left <= 0:
                return None
            for one in readable:
                if one is not self._control:
                    self._on_launcher_exit(one)
                    continue
                try:
                    request = WorkerRequest.received(self._control, STREAMS + 1)
                except (OSError, EOFError):
                    self._end()
                    return None
                except Refused:  # its launcher finds the connection closed, which is an answer
                    continue
                if self._fork(request):
                    return request

    def _fork(self, request: WorkerRequest) -> bool:
        """Forks; returns True in the worker."""
        launcher = socket.socket(fileno=request.sockets[STREAMS])
        try:
            pid = os.fork()
        except OSError as error:  # as many processes as there may be, or no memory
            request.close()
            with launcher:
                refuse(launcher, error)
            return False
        if pid == 0:
            with exit_on_failure():
                for held in (*self._launchers.values(), launcher, self._control):
                    held.close()
                self.close_inherited()
            return True
        request.close()
        self._launchers[pid] = launcher
        self._selector.register(launcher, selectors.EVENT_READ)
        with contextlib.suppress(OSError):  # it was killed meanwhile, which is read next
            launcher.sendall(FORKED)
        return False

    def on_exit(self, pid: int, status: int) -> None:
        """Called when a worker exits: reports its status to its launcher."""
        self._idle_until = time.monotonic() + IDLE_SECONDS
        if (launcher := self._launchers.pop(pid, None)) is not None:
            self._selector.unregister(launcher)
            with launcher, contextlib.suppress(OSError):
                launcher.sendall(STATUS.pack(status))

    def _on_launcher_exit(self, launcher: Any) -> None:
        """Kills the worker of a launcher that has ended: Ray ends a worker by ending its launcher."""
        pid = next((pid for pid, one in self._launchers.items() if one is launcher), None)
        if pid is None:  # its worker has ended as well, a moment ago
            return
        del self._launchers[pid]
        self._selector.unregister(launcher)
        launcher.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Waits for the workers, which end with their raylet; kills those that do not."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self._launchers and time.monotonic() < deadline:
            time.sleep(0.05)
            self.reap()
        for pid in self._launchers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def ray_random_ids_untouched() -> Iterator[None]:
    """Keeps imports in the block from drawing Ray's random ids, so that processes forked later draw different ones.

    Ray's library seeds its generator when the first number is drawn, and a child inherits it. Ray names objects by such
    numbers: of two workers that draw the same ones, the second ends at once ("Seal() called on an object
    without a reference to it"), and Ray waits a minute before it starts another. An import draws one for each
    actor class in it. Read against ray 2.60: `ray.actor`, `WarmupStore`.
    """
    from ray import actor

    rays = actor.ActorClassID

    class SystemsNumbers:
        @staticmethod
        def from_random() -> Any:
            return rays(os.urandom(rays.size()))

    actor.ActorClassID = SystemsNumbers
    try:
        yield
    finally:
        actor.ActorClassID = rays


def import_all(modules: list[str], paths: list[str]) -> None:
    """Imports `modules`, with `paths` as sys.path meanwhile."""
    before, sys.path[:] = list(sys.path), paths
    gc.disable()  # imported objects stay: searching them for garbage again and again costs a fifth more time
    with contextlib.ExitStack() as undrawn:
        for module in modules:
            importlib.import_module(module)
            if module == "ray":
                undrawn.enter_context(ray_random_ids_untouched())
    gc.enable()
    sys.path[:] = before
    gc.collect()
    gc.freeze()  # else a child's first collection would write to every page that it shares with this process


def main() -> None:
    """Runs the zygote; in its forks a job zygote, and a worker."""
    del sys.path[0]  # the folder of this file, whose modules are no top-level ones
    _, fd, path, last = sys.argv
    config, own = ForkConfig(*json.loads(last)), path_entries(os.environ.get("PYTHONPATH"))
    # Ctrl-C is for the driver; workers inherit this from their raylet.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    import_all(config.early, config.paths)
    os.write(sys.stdout.fileno(), b".")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    forked = Zygote(socket.socket(fileno=int(fd)), config, own).serve()
    if forked is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    first, control = forked
    os.environ.update({name: first.environment.get(name, "") for name in JOB_VARIABLES})
    import_all(config.late, [*(folder for folder in first.folders if folder not in own), *config.paths])
    request = JobZygote(control).serve()
    if request is not None:
        request.become(own)


if __name__ == "__main__":
    main()
