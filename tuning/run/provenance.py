"""What a study was made with: the versions of Python and of the libraries on the driver."""

from __future__ import annotations

import platform
from importlib.metadata import version

LIBRARIES = ("tunefleet", "ray", "torch", "transformers", "datasets", "accelerate", "optuna", "hyperopt", "numpy")


def versions() -> dict[str, str]:
    """Library -> version, Python included; read from the package metadata, nothing is imported."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
