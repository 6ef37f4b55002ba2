"""Brings our code and the user's modules to the nodes of a cluster, and makes a run folder that can be written."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.capacity import ClusterError
from cluster.workers.forking.launcher import MARK

PACKAGES = ("cluster", "trainables", "tuning")


def code_environment(modules: Sequence[str]) -> dict[str, Any] | None:
    """Returns the runtime environment that brings our packages and the user's `modules` to every machine.

    That includes machines that join later. None in a Ray job, whose workers import from the job's own copy.

    Raises:
        ClusterError: one of `modules` is not found here.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    return {"py_modules": [str(source_of(name)) for name in (*PACKAGES, *modules)], "env_vars": {MARK: "1"}}


def source_of(name: str) -> Path:
    """Returns the folder of a package, or the file of a module.

    Raises:
        ClusterError: it is not found on this machine.
    """
    found = importlib.util.find_spec(name)
    if found is None:
        raise ClusterError(f"trainable: no module {name!r} on this machine; put its folder on PYTHONPATH")
    if found.origin is None:  # a package without an __init__.py
        return Path(next(iter(found.submodule_search_locations or ())))
    origin = Path(found.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def make_writable_folder(folder: Path) -> None:
    """Creates `folder` and checks that files can be written there.

    Raises:
        ClusterError: it cannot be written from here.
    """
    marker = folder / f".seen-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
        marker.unlink()
    except OSError as error:
        raise ClusterError(
            f"cluster.storage: {folder} cannot be written: {error.strerror}. Set cluster.storage to another folder."
        ) from error
