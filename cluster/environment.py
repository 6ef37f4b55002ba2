"""Environment variables that Ray reads, set for one run and restored after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.ray_compat.head_service import reread_authentication

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0"}
# Exporters of metrics answer everybody. Ray has a switch for one of them. The two on the head give up, with a traceback
# in their log, if their port is invalid.
NO_METRICS = {
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}


def compile_cache_settings(folder: str) -> dict[str, str]:
    """Returns the variable that puts torch's compiled code below `folder`; TMPDIR alone is read too early.

    torch runs what lies there: `folder` must be closed to other accounts.
    """
    return {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/torchinductor"}


@contextlib.contextmanager
def temporary_environment(settings: Mapping[str, str], always: Mapping[str, str] | None = None) -> Iterator[None]:
    """Sets variables temporarily, without overriding the user's.

    Args:
        settings: set unless the user has set that variable.
        always: set in any case.
    """
    always = always or {}
    before: dict[str, Any] = {name: os.environ.get(name) for name in (*settings, *always)}
    os.environ.update({name: value for name, value in settings.items() if name not in os.environ} | dict(always))
    reread_authentication()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        reread_authentication()
