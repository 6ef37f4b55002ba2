"""Another account of this machine, for tests that run as root: a process of `nobody` that does one thing and stays."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

NOBODY = 65534


def needs_root() -> None:
    """Skips the test if this process may not become another account."""
    if os.getuid() != 0:
        pytest.skip("only root can act as another account")


@contextmanager
def stranger(act: Callable[[], object]) -> Iterator[int]:
    """Runs a process of `NOBODY` in the block, which has done `act`; yields its id."""
    needs_root()
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
            os.write(done, b"y")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"y", "the other account could not do it"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextmanager
def listening_stranger(host: str = "127.0.0.1") -> Iterator[int]:
    """Lets `NOBODY` listen on a port of `host` in the block, silently; yields the port."""
    with socket.socket() as found:
        found.bind((host, 0))
        port = int(found.getsockname()[1])
    kept = []

    def listen() -> None:
        taken = socket.socket()
        taken.bind((host, port))
        taken.listen()
        kept.append(taken)

    with stranger(listen):
        yield port


@contextmanager
def running_stranger(*command: str) -> Iterator[int]:
    """Runs a process of `NOBODY` with the command line `command` in the block; yields its id."""
    found, told = os.pipe()

    def run() -> None:
        stdin, kept = os.pipe()  # the end of `kept`, with this process, is the end of the one that reads
        pid = os.fork()
        if pid == 0:
            os.dup2(stdin, 0)
            os.close(kept)
            os.execv("/bin/sh", [command[0], "-c", "read _; :", *command[1:]])
        os.write(told, f"{pid}\n".encode())

    with stranger(run):
        pid = int(os.read(found, 20))
        until = time.monotonic() + 30
        while psutil.Process(pid).cmdline()[:1] != [command[0]]:
            assert time.monotonic() < until, f"{command[0]} has not started"
            time.sleep(0.01)
        yield pid
    os.close(found)
    os.close(told)
