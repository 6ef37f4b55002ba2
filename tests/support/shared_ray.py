"""The one Ray of a test run: four logical CPUs and GPUs, its workers forked from a process that has imported."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from cluster.environment import temporary_environment
from cluster.workers.forking.server import LAUNCHER, ForkServer
from tuning.study.worker_imports import slot_imports


@contextlib.contextmanager
def shared_ray() -> Iterator[None]:
    """Connects this process to a Ray, as a notebook has it that starts one: runs use it as it is and leave it.

    A worker of a local Ray is forked, as here (`cluster.workers.forking.server`): it costs a moment instead of the five
    seconds of CPU in which torch and transformers are imported.
    """
    import ray
    from ray._private import parameter

    temp = tempfile.mkdtemp(prefix="tft", dir="/tmp")  # Ray's sockets have long names
    with ForkServer(Path(temp, "forks"), slot_imports()) as server:
        forking = functools.partial(parameter.RayParams, setup_worker_path=LAUNCHER)
        with temporary_environment({}, always=server.settings), mock.patch.object(parameter, "RayParams", forking):
            ray.init(
                num_cpus=4, num_gpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=temp,
                logging_level="error",
            )  # fmt: skip
        server.wait()
        try:
            yield
        finally:
            ray.shutdown()
    shutil.rmtree(temp, ignore_errors=True)
