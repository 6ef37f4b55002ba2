"""The Ray of this process: what it has started and where it runs, as far as Ray has no public option or call for it.

Read against ray 2.60; `tests/tuning/study/test_warm_slots.py` lists what runs of it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def started_head() -> bool:
    """True if this process has started the Ray in use, with its head on this machine (a notebook)."""
    from ray._private.worker import _global_node

    return _global_node is not None and bool(_global_node.is_head())


def servers() -> dict[str, list[Any]]:
    """Returns the processes of the node that this process has started, by kind ("raylet", "gcs_server", ...).

    The `process` of each is a `subprocess.Popen`. Empty if this process has started none.
    """
    from ray._private.worker import _global_node

    return dict(_global_node.all_processes) if _global_node else {}


@contextlib.contextmanager
def without_services(options: Mapping[str, str]) -> Iterator[None]:
    """Makes `ray.init` start no autoscaler, log forwarder and dashboard server in the block, and use further `options`.

    `include_dashboard=False` leaves all three on, and `ray.init` has no option for them. They cost 3 CPU-seconds, delay
    the start, need a second to end, and are not used by a run on one machine. Read against ray 2.60;
    `tests/tuning/study/test_warm_slots.py` lists what runs.
    """
    from ray._private import node, parameter

    made, start_api_server = parameter.RayParams, node.Node.start_api_server
    parameter.RayParams = functools.partial(made, no_monitor=True, include_log_monitor=False, **options)
    node.Node.start_api_server = lambda self, **options: None
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = made, start_api_server


def usable_cores() -> int:
    """Returns how many cores this process may use: Ray obeys a container's quota, but no affinity mask."""
    from ray._private.utils import get_num_cpus

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else get_num_cpus()
    return max(1, min(int(get_num_cpus()), allowed))


def setup_worker_file() -> Path:
    """The program with which Ray's raylets start each worker, if no other is named to them."""
    import ray

    return Path(ray.__file__).parent / "_private" / "workers" / "setup_worker.py"


def logs_folder() -> Path:
    """The folder of this node's logs, which the dashboard shows. Ray must be connected."""
    from ray._private.worker import _global_node

    return Path(_global_node.get_logs_dir_path())


def on_this_node() -> dict[str, Any]:
    """Ray's options that keep an actor or a task on the node of this process."""
    from ray.air.util.node import _force_on_current_node

    return dict(_force_on_current_node())
