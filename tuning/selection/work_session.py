"""Ray for work after an experiment, joined or started as a run does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuning.spec.models import ExperimentSpec
from tuning.study.compiled_code import compiled_code_folder
from tuning.study.worker_imports import slot_imports
from tuning.supervision.stop_signals import stoppable
from tuning.tune_compat.settings import tune_settings

if TYPE_CHECKING:
    from cluster.session import Session


@contextlib.contextmanager
def ray_session(spec: ExperimentSpec) -> Iterator[Session]:
    """Join or start the cluster of `spec`, where a training holds what a trial does; SIGTERM ends the block as Ctrl-C.

    Raises:
        ClusterError: see `cluster.session.connect`.
    """
    from cluster.session import connect

    with (
        tune_settings(),
        stoppable(),
        connect(
            spec.cluster,
            run_folder=spec.run_folder,
            modules=spec.own_modules,
            imports=slot_imports(),
            compiled=compiled_code_folder(spec),
            reads=spec.local_inputs,
        ) as session,
        stoppable(),  # and again: Ray has put its own handler in place
    ):
        yield session
