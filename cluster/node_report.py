"""Reports what a node has for trials: versions, our own code, files, devices, and the storage in both directions.

`cluster.preflight` runs it on every node, and compares. Imports neither torch nor models.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.capacity import ClusterError
from cluster.workers.code_shipping import source_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LIBRARIES = ("ray", "torch", "transformers", "datasets", "accelerate")
PROBE = b"tunefleet was here"  # the content of a file that tests a storage path


class NodeRequest(NamedTuple):
    """The places, modules and files that every node has to examine."""

    modules: tuple[str, ...]
    reads: tuple[str, ...]
    filesystem: FileSystem
    probe: str  # path of a file that the driver has written; each node writes its own beside it


class NodeReport(NamedTuple):
    """The findings of one node: what it has and what it lacks."""

    versions: Mapping[str, str]  # "python" and those of `LIBRARIES` that are installed
    digests: Mapping[str, str | None]  # of each module's sources; None: not found
    unreadable: Mapping[str, str]  # path -> the system's reason
    storage: str | None  # what is wrong with the storage path; None: nothing
    cuda: int | str  # number of devices that CUDA finds, or why it finds none


def examine_node(request: NodeRequest, node: str) -> NodeReport:
    """Examines the node that this runs on.

    Args:
        request: what to examine.
        node: id of the node; part of the name of the file that it writes.
    """
    return NodeReport(
        installed_versions(),
        module_digests(request.modules),
        {path: reason for path in request.reads if (reason := _unreadable(path))},
        _storage_problem(request.filesystem, request.probe, f"{request.probe}-{node}"),
        cuda_devices(),
    )


def installed_versions() -> dict[str, str]:
    """Returns versions by name: Python's (major and minor) and those of `LIBRARIES`."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def module_digests(modules: Sequence[str]) -> dict[str, str | None]:
    """Returns a digest of each module's sources, wherever they are; None for a module that is not found."""
    return {name: _digest(name) for name in modules}


def _digest(name: str) -> str | None:
    try:
        source = source_of(name)
    except ClusterError:
        return None
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cuda_devices() -> int | str:
    """Returns how many devices CUDA finds here, or why it finds none; uses the driver's library, not torch."""
    hidden = os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides all of them from a task that holds none
    try:
        cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
        status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
        return f"CUDA's error {status}" if status else count.value
    except OSError as error:
        return str(error)
    finally:
        if hidden is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = hidden


def _unreadable(path: str) -> str | None:
    try:
        if Path(path).is_dir():
            os.listdir(path)
        else:
            Path(path).open("rb").close()
    except OSError as error:
        return error.strerror
    return None


def _storage_problem(filesystem: FileSystem, theirs: str, own: str) -> str | None:
    """Reads what the driver has written, and writes what it will read; returns what is wrong."""
    folder = theirs.rpartition("/")[0]
    try:
        with filesystem.open_input_stream(theirs) as stream:
            if stream.read() != PROBE:
                return f"cluster.storage: {folder} holds something else than the driver wrote"
    except FileNotFoundError:
        return f"cluster.storage: {folder} is not visible from there"
    except Exception as error:  # a cloud's library may raise anything; the driver reports it
        return f"cluster.storage: {folder} cannot be read: {first_line(error)}"
    try:
        with filesystem.open_output_stream(own) as stream:
            stream.write(PROBE)
    except Exception as error:
        return f"cluster.storage: {folder} cannot be written: {first_line(error)}"
    return None


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message; its type if it has none."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]
