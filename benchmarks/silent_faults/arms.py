"""The two searches of every case: that of transformers, and tunefleet's."""

from __future__ import annotations

import concurrent.futures.process
import contextlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import BestRun

from benchmarks.silent_faults.cases import Case, Finding

ROOT = Path(__file__).parents[2]


def theirs(trainer: Trainer, *, backend: str = "optuna", **keywords: Any) -> BestRun:
    """Runs the search of the installed transformers, with fixed draws, and its results in the working directory."""
    if backend == "ray":
        with a_ray():
            return trainer.hyperparameter_search(backend=backend, verbose=0, storage_path=os.getcwd(), **keywords)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    return trainer.hyperparameter_search(backend=backend, sampler=sampler, **keywords)


@contextlib.contextmanager
def a_ray() -> Iterator[None]:
    """Starts a Ray of two logical cores, and ends it after the block."""
    import ray

    with tempfile.TemporaryDirectory(prefix="tfb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        imports = {"env_vars": {"PYTHONPATH": str(ROOT)}}  # for the workers: the benchmarks are not installed
        ray.init(
            "local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=imports, _temp_dir=folder
        )
        try:
            yield
        finally:
            ray.shutdown()


def ours(trainer: Trainer, *, backend: str = "optuna", **keywords: Any) -> BestRun:
    """Runs tunefleet's search with the same keywords."""
    from tuning import hyperparameter_search

    return hyperparameter_search(trainer, backend=backend, **keywords)


ARMS: Mapping[str, Callable[..., BestRun]] = {"transformers": theirs, "tunefleet": ours}


def measure(case: Case, arm: str, folder: Path) -> Finding:
    """Runs one case through one arm, in an empty `folder`; an unexpected error is its finding."""
    folder.mkdir(parents=True)
    with working_in(folder), contextlib.redirect_stdout(sys.stderr):
        try:
            return case.measure(ARMS[arm], folder)
        except Exception as error:
            return Finding(f"{type(error).__name__}: {error}", False)


def measure_apart(case: Case, arm: str, folder: Path) -> Finding:
    """Run it in a process of its own, whose death is a finding, too: what one training leaves in a process meets no
    other one there (after a training of its own it cannot pickle a Trainer any more)."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        try:
            return executor.submit(measure, case, arm, folder).result()
        except concurrent.futures.process.BrokenProcessPool:
            return Finding("the process is killed by a fault of memory access", False)


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Changes the working directory in the block, as both searches write their runs there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
