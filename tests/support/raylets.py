"""A Ray cluster of several nodes on this one machine, some of them killed, frozen or cut off while it runs.

Each node is a `ray start --block` with its own ports, or a `tunefleet cluster start`, which becomes one. Where
namespaces are permitted a node is as good as another machine: its own host name, its own shared memory and, cut off
from the network when asked, its own end of a cable.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PORTS = (  # of one node, after the two of a head
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
PORTS_PER_NODE = 60
# Titles of the processes of trials, and of trainings after the search: while they wait, and while they compute.
TRIALS = ("ray::Slot", "ray::JobSlot", "ray::_Inner")
START_SECONDS = 90.0  # on a busy machine
TRIES = 4
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}  # on this machine alone
TOKEN = Path(".ray", "auth_token")  # in the home folder
OTHER_MACHINE = 'hostname "$1" && mount -t tmpfs -o size=25% none /dev/shm && shift && exec "$@"'


class NodeFailed(RuntimeError):
    """A node did not start; the message is its log."""


@dataclass(frozen=True)
class Cable:
    """A cable between this machine and a network namespace in which a node runs."""

    name: str  # of the namespace
    here: str  # this machine's address at its end
    there: str

    @classmethod
    def between(cls, number: int) -> Cable:
        """Makes a cable; `number` distinguishes it from others.

        Raises:
            subprocess.CalledProcessError: that is not permitted.
        """
        name, net = f"tfn{number % 100000}", f"10.{200 + number % 50}.{number // 50 % 250}"
        cable = cls(name, f"{net}.1", f"{net}.2")
        inside = ["ip", "-n", name]
        _do("ip", "netns", "add", name)
        _do("ip", "link", "add", name, "type", "veth", "peer", "name", "cable", "netns", name)
        _do("ip", "addr", "add", f"{cable.here}/30", "dev", name)
        _do("ip", "link", "set", name, "up")
        _do(*inside, "addr", "add", f"{cable.there}/30", "dev", "cable")
        _do(*inside, "link", "set", "cable", "up")
        _do(*inside, "link", "set", "lo", "up")
        _do(*inside, "route", "add", "default", "via", cable.here)
        return cable

    def cut(self) -> None:
        """Cuts the cable: it drops everything in both directions, silently."""
        for chain in ("INPUT", "OUTPUT"):
            _do("ip", "netns", "exec", self.name, "iptables", "-I", chain, "!", "-o" if chain == "OUTPUT" else "-i",
                "lo", "-j", "DROP")  # fmt: skip

    def remove(self) -> None:
        """Removes the cable; it goes with the namespace."""
        _do("ip", "netns", "del", self.name)


def _do(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)


@dataclass
class RayNode:
    """A node that runs on this machine."""

    name: str
    address: str  # host:port of the head that it is or has joined
    process: subprocess.Popen[str]
    access: Mapping[str, str]  # what the environment of a driver must hold

    @property
    def is_open(self) -> bool:
        """True if the node requires no token."""
        return self.access == NO_TOKEN

    def processes(self) -> list[psutil.Process]:
        """Returns all processes of the node, its workers' included."""
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        return []

    def trials(self) -> int:
        """Counts the node's processes that compute trials now."""
        return self.computes(TRIALS)

    def computes(self, titles: str | tuple[str, ...]) -> int:
        """Counts the node's processes whose titles begin so."""
        names = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                names.append(process.name())
        return sum(name.startswith(titles) for name in names)

    def signal(self, number: int) -> None:
        """Signals every process of the node: SIGKILL is a power cut, SIGSTOP a silent partition."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """Kills all processes of the node, as a power cut does."""
        self.signal(signal.SIGSTOP)  # first: a raylet that starts a worker meanwhile would leave it behind
        self.signal(signal.SIGKILL)
        self.process.wait()


@dataclass
class RayNodes:
    """Makes the nodes of one cluster.

    Args:
        folder: short (Ray's sockets have long names); for logs and Ray's session.
        environment: of every node, besides what this process has that is not Ray's.
        disguised: each worker gets a host name and shared memory of its own; see `can_disguise`.
        address: of this machine, as the nodes reach it.
        closed: started by `tunefleet cluster start`, with a token below `folder`.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    disguised: bool = False
    address: str = "127.0.0.1"
    closed: bool = False
    nodes: list[RayNode] = field(default_factory=list)
    _base: int = 0  # the first port of the last node

    def start(self, name: str, *, cpus: int, gpus: int, cable: Cable | None = None, **environment: str) -> RayNode:
        """Starts the head first, then workers; returns when the node reports that it runs.

        Args:
            gpus: logical ones.
            cable: the node runs at its far end.

        Raises:
            NodeFailed: it ended, or took longer than `START_SECONDS`.
        """
        for _ in range(TRIES - 1):
            with suppress(NodeFailed):  # Ray gives a raylet 30 s to come up, which a busy machine may exceed
                return self._start(name, cpus, gpus, cable, environment)
        return self._start(name, cpus, gpus, cable, environment)

    def _start(self, name: str, cpus: int, gpus: int, cable: Cable | None, environment: Mapping[str, str]) -> RayNode:
        # Never a dead node's ports: the head asks there ever more rarely, and would take the new node for dead, too.
        self._base = first_of_free_ports(PORTS_PER_NODE, above=self._base)
        address = self.nodes[0].address if self.nodes else f"{self.address}:{self._base}"
        command = self._command(name, cpus, gpus, cable)
        mode = {"HOME": str(self.folder), "RAY_AUTH_MODE": "token"} if self.closed else NO_TOKEN
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_"))}
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, text=True, start_new_session=True,
                env={**inherited, **mode, "RAY_worker_niceness": "0", **self.environment, **environment},
            )  # fmt: skip
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / TOKEN)}
        access = token if self.closed else NO_TOKEN
        node = RayNode(name, address, process, access)
        until = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                node.signal(signal.SIGKILL)
                raise NodeFailed(f"{name}: {log.read_text()}")
            time.sleep(0.1)
        self.nodes.append(node)
        return node

    def _command(self, name: str, cpus: int, gpus: int, cable: Cable | None) -> list[str]:
        """Returns the command that starts a node with ports from `_base` on."""
        base = self._base
        command = [str(Path(sys.executable).with_name("ray")), "start", "--disable-usage-stats"]
        if self.closed:
            command = [sys.executable, "-m", "tuning.cli", "cluster", "start", *([] if self.nodes else ["--head"])]
            command += [f"--address={self.nodes[0].address}"] if self.nodes else []
            command += ["--"]
        elif self.nodes:
            command += [f"--address={self.nodes[0].address}"]
        else:
            command += ["--head"]
        command += ["--block"]
        command += [f"--{port}={base + offset}" for offset, port in enumerate(PORTS, start=2)]
        command += [f"--min-worker-port={base + 10}", f"--max-worker-port={base + PORTS_PER_NODE - 1}"]
        command += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={100 * 2**20}"]
        if self.nodes:
            command += [f"--node-ip-address={cable.there if cable else self.address}"]
            if self.disguised:
                command = ["unshare", "--uts", "--mount", "sh", "-c", OTHER_MACHINE, "sh", name, *command]
            if cable:
                command = ["ip", "netns", "exec", cable.name, *command]
        else:
            command += [f"--node-ip-address={self.address}"]
            command += ["--include-dashboard=false", f"--port={base}", f"--ray-client-server-port={base + 1}"]
            command += [f"--temp-dir={self.folder / 'ray'}"]
        return command

    def stop(self) -> None:
        """Ends every node that is left, the head last."""
        for node in reversed(self.nodes):
            left = node.processes()
            node.signal(signal.SIGCONT)
            node.process.terminate()  # the leader ends the others
            with suppress(subprocess.TimeoutExpired):
                node.process.wait(timeout=20)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            node.process.wait()


@contextmanager
def ray_nodes(folder: Path, *, disguised: bool = False, closed: bool = False, **environment: str) -> Iterator[RayNodes]:
    """Yields a cluster without a node; all nodes that are started are stopped at the end."""
    nodes = RayNodes(folder, environment, disguised, closed=closed)
    try:
        yield nodes
    finally:
        nodes.stop()


def can_disguise() -> bool:
    """True if this process may make namespaces."""
    with suppress(FileNotFoundError):
        trial = ["unshare", "--uts", "--mount", "sh", "-c", OTHER_MACHINE, "sh", "probe", "true"]
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    return False


def cables_are_permitted() -> bool:
    """True if this process may make a `Cable`."""
    with suppress(FileNotFoundError, subprocess.CalledProcessError):
        cable = Cable.between(os.getpid())
        try:
            cable.cut()
        finally:
            cable.remove()
        return True
    return False


def first_of_free_ports(count: int, above: int = 0) -> int:
    """Returns the first of `count` consecutive ports that are all free now, below the range for outgoing connections.

    Args:
        above: what an earlier call returned; the ports are others.

    Raises:
        NodeFailed: there are none.
    """
    # Each process looks from a place of its own: another one that starts a node now has not opened its ports yet.
    first = max(20000 + os.getpid() % 100 * 60, above + count)
    for base in range(first, 32000, count):
        if all(_is_free(port) for port in range(base, base + count)):
            return base
    raise NodeFailed(f"no {count} consecutive free ports between {first} and 32000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
