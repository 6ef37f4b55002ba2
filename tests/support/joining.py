"""Programs that join a Ray cluster, or start a local Ray, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

DRIVER = """
import json, os, sys, time
from pathlib import Path
from cluster import ClusterSpec
from cluster.session import ClusterError, connect
spec = ClusterSpec(address=sys.argv[1] or None)
folder = Path(sys.argv[2])
"""


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what Ray and Tune read, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {**kept, **more}


@contextmanager
def account(**variables: str) -> Iterator[None]:
    """In the block this process has `clean_environment(**variables)`, as the command of another account would."""
    with mock.patch.dict(os.environ, clean_environment(**variables), clear=True):
        yield


def driver_command(code: str, *arguments: object) -> list[str]:
    """`code` as a driver: `spec`, `folder` and `connect` are at hand; arguments are address, folder, more."""
    return [sys.executable, "-c", DRIVER + code, *map(str, arguments)]


def drive(code: str, *arguments: object, **environment: str) -> str:
    """Run `driver_command` to its end; what it printed.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(
        driver_command(code, *arguments),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd="/",  # workers get the driver's folder: the checkout itself must not be the one
        env=clean_environment(**environment),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
