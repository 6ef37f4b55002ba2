"""The program of `cluster.workers.forking.server`, which says what it is for: processes that have imported, and fork.

    fork_program.py FD SOCKET TOLD

The *base* has imported all that does not import ray. Ray reads whose job it is as its library is loaded; so each job
gets a *template*, forked from the base, that imports the rest, forks the job's workers and ends soon after the last.

    launcher ---what the worker is to be---> base ---the same, and the launcher's socket---> template --forks--> worker
    launcher <--"F", and the worker's exit status------------------------------------------- template

Run as a file, by path: it imports none of ours, but what it is told, and so the one private function of Ray that it
calls (`update_envs`, as `setup_worker.py` does) is named here and not in `cluster.ray_compat`. What launchers say is in
`cluster.workers.forking.launcher`.
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
HEAD, MAGIC, VERSION = struct.Struct("!4sIQ"), b"tffk", 2  # of a request: the version, and the length of the JSON
LONGEST = 1 << 24  # bytes of JSON; the system allows less for arguments and environment together
STREAMS = 3  # standard input, output, error
JOB_VARIABLES = ("RAY_JOB_ID", "RAY_RAYLET_PID")  # what Ray reads as its library is loaded
GRACE_SECONDS = 5.0  # for workers to end by themselves after their driver
ASKING_SECONDS = 10.0  # for a launcher to say what it wants, all of it
IDLE_SECONDS = 60.0  # of a template without a worker


class ForkConfig(NamedTuple):
    """By whoever starts this program."""

    early: list[str]  # modules that the base imports
    late: list[str]  # those of a template
    paths: list[str]  # sys.path for both
    outlives: bool  # any one driver: what is installed may change meanwhile


class Refused(Exception):
    """A request that this program does not answer with a worker; the message says why."""


@dataclass
class WorkerRequest:
    """What a worker is to be."""

    program: list[str]  # with its arguments
    environment: dict[str, str]  # the launcher's
    variables: dict[str, str]  # those of its runtime environment
    folder: str  # to work in
    badness: str  # /proc/self/oom_score_adj
    sockets: list[int]  # standard streams, and where it has been handed on the launcher's socket

    @property
    def folders(self) -> list[str]:
        """Of its PYTHONPATH."""
        return path_entries(self.variables.get("PYTHONPATH") or self.environment.get("PYTHONPATH"))

    @property
    def job(self) -> tuple[str, ...]:
        """Whose workers it is of; they import the same."""
        return (*(self.environment.get(name, "") for name in JOB_VARIABLES), *self.folders)

    @classmethod
    def received(cls, sender: socket.socket, sockets: int, seconds: float | None = None) -> WorkerRequest:
        """Receive a request, as `send` writes it. If that fails, none of the descriptors that came along stays open.

        Args:
            sockets: how many descriptors must come along.
            seconds: for all of it.

        Raises:
            EOFError: the sender has ended.
            TimeoutError: it has not said all of it in time.
            Refused: it is no request that this program knows. All of it has been read, if its length was told.
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

    def send(self, template: socket.socket, launcher: socket.socket) -> None:
        """Hand it on."""
        body = json.dumps({name: value for name, value in vars(self).items() if name != "sockets"}).encode()
        socket.send_fds(template, [HEAD.pack(MAGIC, VERSION, len(body))], [*self.sockets, launcher.fileno()])
        template.sendall(body)

    def close(self) -> None:
        """Whoever hands it on, or forks for it, keeps none of them."""
        for number in self.sockets[:STREAMS]:
            os.close(number)

    def become(self, own: list[str]) -> None:
        """As `setup_worker.py` does it, but that this interpreter is the worker's.

        Args:
            own: the folders of this interpreter's PYTHONPATH, instead of which the worker's stand.
        """
        import runpy

        from ray._private.utils import update_envs

        for number, stream in enumerate(self.sockets[:STREAMS]):
            os.dup2(stream, number)
        self.close()
        os.setpgid(0, 0)  # as Ray does with those that it starts: a signal to the driver's group is not theirs
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # by which its raylet ends it
        os.environ.clear()
        os.environ.update(self.environment)
        update_envs(self.variables)
        os.chdir(self.folder)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(self.badness)
        others = [path for path in sys.path if path not in own]
        sys.argv, sys.path[:] = self.program, [os.path.dirname(self.program[0]), *self.folders, *others]
        runpy.run_path(self.program[0], run_name="__main__")


KINDS = {"program": list, "environment": dict, "variables": dict, "folder": str, "badness": str}


def _checked(body: bytes) -> dict[str, Any]:
    """The fields of a request, without its descriptors.

    Raises:
        Refused: they are others, or of other kinds.
    """
    try:
        told = json.loads(body)
    except ValueError as error:
        raise Refused(f"a request that is no JSON ({error})") from None
    if not isinstance(told, dict) or told.keys() != KINDS.keys():
        raise Refused(f"a request of other fields than {', '.join(KINDS)}")
    for name, kind in KINDS.items():
        value = told[name]
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(part, str) for part in parts):
            raise Refused(f"a request whose {name} is not what it should be")
    if not told["program"]:
        raise Refused("a request without a program")
    return told


def _read(sender: socket.socket, length: int, until: float | None) -> bytes:
    """Exactly so many bytes.

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
    """Tell a launcher that Ray's own program is to be started, and whoever reads this program's log why."""
    print(f"tunefleet: a worker is started by Ray itself, not forked: {reason}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        launcher.sendall(REFUSED)


@contextlib.contextmanager
def exit_on_failure() -> Iterator[None]:
    """End a forked child if it fails in the block: it must never go on as a second one of its parent."""
    try:
        yield
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def path_entries(variable: str | None) -> list[str]:
    """Those of a PYTHONPATH, as they stand in sys.path."""
    return [os.path.abspath(path) for path in (variable or "").split(os.pathsep) if path]


class Parent(abc.ABC):
    """Waits for what comes in, and for its children to end."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def came(self, seconds: float | None = None) -> list[Any]:
        """Those of the registered that can be read; the children that have ended by then are reaped."""
        readable = [key.fileobj for key, _ in self._selector.select(seconds)]
        if self._woken in readable:
            readable.remove(self._woken)
            self._woken.recv(4096)
            self.reap()
        return readable

    def reap(self) -> None:
        """The children that have ended."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                self.ended(pid, os.waitstatus_to_exitcode(status))

    @abc.abstractmethod
    def ended(self, pid: int, status: int) -> None:
        """A child has."""

    def let_go(self) -> None:
        """In a child: of what is its parent's."""
        for end in (self._wake, self._woken):
            end.close()
        self._selector.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Zygote(Parent):
    """Hands each request on to the template of its job."""

    def __init__(self, listening: socket.socket, told: ForkConfig, own: list[str]) -> None:
        super().__init__()
        self._listening, self._own = listening, own
        self._spare = os.open(os.devnull, os.O_RDONLY)  # given up for a moment where there is no descriptor left
        self._templates: dict[tuple[str, ...], tuple[int, socket.socket]] = {}  # pid, and where it listens
        self._asking: dict[socket.socket, float] = {}  # launchers that have still to say what they want, and until when
        self._names = {name.partition(".")[0] for name in sys.modules}
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} if told.outlives else ()
        self._files = {file: _written(file) for file in files if file}
        self._selector.register(listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def serve(self) -> tuple[WorkerRequest, socket.socket] | None:
        """Until whoever started it has ended: None. In a template: its first request, and where others come from."""
        while True:
            readable = self.came(ASKING_SECONDS if self._asking else None)
            if sys.stdin in readable:
                self._end()
                return None
            if self._listening in readable:
                self._accept()
            for launcher in [one for one in readable if one in self._asking]:
                if (born := self._hear(launcher)) is not None:
                    return born
            for launcher, until in list(self._asking.items()):
                if time.monotonic() >= until:
                    refuse(launcher, f"a launcher has said nothing in {ASKING_SECONDS:g} s")
                    self._forget(launcher)

    def _end(self) -> None:
        """With all templates."""
        self._selector.unregister(sys.stdin)
        self._selector.unregister(self._listening)
        for launcher in list(self._asking):
            self._forget(launcher)
        for _, control in self._templates.values():
            control.close()
        while self._templates:
            self.came()

    def _accept(self) -> None:
        try:
            launcher, _ = self._listening.accept()
        except OSError as error:  # it has ended; or there is no descriptor left
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away(error)
            return
        self._asking[launcher] = time.monotonic() + ASKING_SECONDS
        self._selector.register(launcher, selectors.EVENT_READ)

    def _forget(self, launcher: socket.socket) -> None:
        del self._asking[launcher]
        self._selector.unregister(launcher)
        launcher.close()

    def _hear(self, launcher: socket.socket) -> tuple[WorkerRequest, socket.socket] | None:
        """Answer what a launcher asks for. Whatever it says, others are answered after it."""
        try:
            request = WorkerRequest.received(launcher, STREAMS, ASKING_SECONDS)
            try:
                return self._answer(request, launcher)
            finally:
                request.close()
        except TimeoutError:
            refuse(launcher, f"a launcher has said half of what it wants in {ASKING_SECONDS:g} s")
        except EOFError:  # it was killed while it asked
            pass
        except Exception as error:
            refuse(launcher, error)
        finally:
            if launcher in self._asking:
                self._forget(launcher)
        return None

    def _answer(self, request: WorkerRequest, launcher: socket.socket) -> tuple[WorkerRequest, socket.socket] | None:
        """Hand it on; in a new template: what `serve` gives."""
        if (template := self._templates.get(request.job)) is not None:
            try:
                request.send(template[1], launcher)
                return None
            except BrokenPipeError:  # it ended a moment ago
                self.ended(template[0], 0)
        if self._is_hindered(request):
            launcher.sendall(REFUSED)
            return None
        if (born := self._fork(request)) is None:
            request.send(self._templates[request.job][1], launcher)
        return born

    def _turn_away(self, error: OSError) -> None:
        """A launcher that there is no descriptor for: with the one that is kept for it, or it would wait for ever."""
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
                    *self._asking,
                    *(control for _, control in self._templates.values()),
                ):
                    held.close()
                self._asking.clear()
                os.close(self._spare)
                self.let_go()
            return request, its
        its.close()
        self._templates[request.job] = pid, ours
        return None

    def ended(self, pid: int, status: int) -> None:
        """A template: its job has no worker any more, or it could not import."""
        for job, (its, control) in list(self._templates.items()):
            if its == pid:
                control.close()
                del self._templates[job]

    def _is_hindered(self, request: WorkerRequest) -> bool:
        """Whether a process that imports by itself would import something else."""
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
    """Forks a worker for each launcher that the base hands on, and tells it how the worker ended."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control
        self._launchers: dict[int, socket.socket] = {}  # by the pid of the worker
        self._idle_until = time.monotonic() + IDLE_SECONDS
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> WorkerRequest | None:
        """Until the base has ended, or there was no worker for a while: None. In a worker: what it is to be."""
        while True:
            left = self._idle_until - time.monotonic()
            readable = self.came(None if self._launchers else max(0.0, left))
            if not self._launchers and not readable and left <= 0:
                return None
            for one in readable:
                if one is not self._control:
                    self._lost(one)
                    continue
                try:
                    request = WorkerRequest.received(self._control, STREAMS + 1)
                except (OSError, EOFError):
                    self._end()
                    return None
                except Refused:  # its launcher finds nobody at the other end, which is an answer
                    continue
                if self._fork(request):
                    return request

    def _fork(self, request: WorkerRequest) -> bool:
        """Whether this is the worker."""
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
                self.let_go()
            return True
        request.close()
        self._launchers[pid] = launcher
        self._selector.register(launcher, selectors.EVENT_READ)
        with contextlib.suppress(OSError):  # it was killed meanwhile, which is read next
            launcher.sendall(FORKED)
        return False

    def ended(self, pid: int, status: int) -> None:
        """A worker."""
        self._idle_until = time.monotonic() + IDLE_SECONDS
        if (launcher := self._launchers.pop(pid, None)) is not None:
            self._selector.unregister(launcher)
            with launcher, contextlib.suppress(OSError):
                launcher.sendall(STATUS.pack(status))

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
            self.reap()
        for pid in self._launchers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def ray_random_ids_untouched() -> Iterator[None]:
    """Let nobody draw from Ray's random numbers in the block, so that processes forked after it draw different ones.

    Ray's library seeds its generator when the first number is drawn, and a child inherits it. Ray names objects by such
    numbers: of two workers that draw the same ones, the second to start ends at once ("Seal() called on an object
    without a reference to it"), and Ray waits a minute before it starts another. What is imported draws one for each
    class of actors in it. Read against ray 2.60: `ray.actor`, `WarmupStore`.
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
    """With these paths, which are none of a worker's."""
    before, sys.path[:] = list(sys.path), paths
    gc.disable()  # what is imported stays: to search it for garbage again and again takes a fifth longer
    with contextlib.ExitStack() as undrawn:
        for module in modules:
            importlib.import_module(module)
            if module == "ray":
                undrawn.enter_context(ray_random_ids_untouched())
    gc.enable()
    sys.path[:] = before
    gc.collect()
    gc.freeze()  # or a child's first collection writes on every page that it shares with this process


def main() -> None:
    """The base; a template; a worker."""
    del sys.path[0]  # the folder of this file, whose modules are no top-level ones
    _, fd, place, last = sys.argv
    told, own = ForkConfig(*json.loads(last)), path_entries(os.environ.get("PYTHONPATH"))
    # Ctrl-C is the driver's; workers get this from their raylet.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    import_all(told.early, told.paths)
    os.write(sys.stdout.fileno(), b".")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on
    born = Zygote(socket.socket(fileno=int(fd)), told, own).serve()
    if born is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        return
    first, control = born
    os.environ.update({name: first.environment.get(name, "") for name in JOB_VARIABLES})
    import_all(told.late, [*(folder for folder in first.folders if folder not in own), *told.paths])
    request = JobZygote(control).serve()
    if request is not None:
        request.become(own)


if __name__ == "__main__":
    main()
