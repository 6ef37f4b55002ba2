"""A small file system for tests of full disks."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


class NoDisk(RuntimeError):
    """Raised with the reason if no file system can be mounted here."""


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mounts a file system of `size` bytes at `folder` in the block.

    Raises:
        NoDisk: that is not permitted.
    """
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None:
        raise NoDisk("no `mount`")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise NoDisk(mounted.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fills the disk with a file; deleting it gives the room back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 1024)
    return ballast
