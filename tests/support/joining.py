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
    """Returns this process's environment without variables that Ray and Tune read, with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {**kept, **more}


@contextmanager
def account(**variables: str) -> Iterator[None]:
    """Gives this process `clean_environment(**variables)` in the block, as another account's command has."""
    with mock.patch.dict(os.environ, clean_environment(**variables), clear=True):
        yield


def driver_command(code: str, *arguments: object) -> list[str]:
    """Returns the command that runs `code` as a driver, which has `spec`, `folder` and `connect`."""
    return [sys.executable, "-c", DRIVER + code, *map(str, arguments)]


def drive(code: str, *arguments: object, **environment: str) -> str:
    """Runs `driver_command` to its end; returns its output.

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
