"""Says where the code that `compile: true` makes stays, so that a later run does not compile it again."""

from __future__ import annotations

from pathlib import Path

from trainables.data.cache_folder import cache_folder, private_folder
from tuning.spec.models import ExperimentSpec


def compiled_code_folder(spec: ExperimentSpec) -> Path | None:
    """Makes and returns the folder for the compiled code of a local Ray; None for a spec that compiles nothing there.

    Raises:
        CacheError: the cache's folder cannot be used.
    """
    if not spec.compile or spec.cluster.address is not None:
        return None
    return private_folder(cache_folder(), "compiled")
