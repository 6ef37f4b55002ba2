"""Runs an experiment in virtual time: our searches, schedulers and budgets, over trials that only take their seconds.

It calls `run_experiment` as a user does, with a spec whose trials are `SimulatedTraining`, in the block of
`simulated_ray`. So it follows whatever a run does; confirmations and evaluations on test are in it. The driver's own
time is not: in a real run it is some milliseconds per report.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest import mock

from cluster.spec import ClusterSpec
from trainables.spec import TRAININGS
from tuning.estimate.costs import FORMULA, TrainingCosts
from tuning.estimate.simulated_training import SETTINGS, SimulatedTraining, write_settings
from tuning.outcome import ExperimentOutcome
from tuning.space import Space
from tuning.spec.models import STORE_FILE, ExperimentSpec
from tuning.spec.store_url import sqlite_url
from tuning.tracking.spec import WandbSpec

NAME = "simulated"  # of the experiment and of the trainable
SHORTEST_TICK, LONGEST_TICK = 0.2, 3600.0  # virtual seconds that pass without an event at most
MEMORY = Path("/dev/shm")  # where a record needs no disk


class SimulatedRun(NamedTuple):
    """An experiment that has run in virtual time."""

    outcome: ExperimentOutcome
    seconds: float  # from the first study's start to the end of all


def simulate(
    spec: ExperimentSpec,
    costs: TrainingCosts,
    slots: int,
    devices_per_trial: float,
    *,
    factor: float = 1.0,
    luck: int = 0,
) -> SimulatedRun:
    """Run an experiment in virtual time; call it in the main thread, where no Ray runs.

    Args:
        spec: of the experiment.
        costs: of its trials.
        slots: trials that run at a time.
        devices_per_trial: what one of them holds.
        factor: trials take so many times as long.
        luck: another number makes other scores.
    """
    from tuning.experiment import run_experiment
    from tuning.testing.simulated_ray import SimulatedNode, simulated_ray

    node, tick = SimulatedNode(cpus=slots * devices_per_trial), LONGEST_TICK
    if spec.budget.limit is not None:  # which is looked at once per tick, or event
        tick = min(max(costs.of({}).epoch * spec.report_every_epochs * factor / 8, SHORTEST_TICK), LONGEST_TICK)
    with _folder() as folder, _simulated_trials():
        simulated = simulated_spec(spec, costs, devices_per_trial, folder, factor=factor, luck=luck)
        with simulated_ray(node, start_seconds=costs.start + costs.heaviest.first, tick=tick) as ray, _few_snapshots():
            outcome = run_experiment(simulated, progress=False)
        return SimulatedRun(outcome, ray.seconds)


def simulated_spec(
    spec: ExperimentSpec, costs: TrainingCosts, devices_per_trial: float, folder: Path, *, factor: float, luck: int
) -> ExperimentSpec:
    """Return the spec of the same experiment with simulated trials, recorded below `folder` and nowhere else.

    Each strategy has its own space, as it would search it: of another trainable's names nothing is known.
    """
    strategies = tuple(
        one.without_user_study().model_copy(update={"space": spec.space_of(one)}) for one in spec.strategies
    )
    trials: dict[str, object] = {}
    if spec.trainable != FORMULA:
        settings = folder / "settings.json"
        write_settings(settings, costs, factor, luck)
        trials = {"trainable": NAME, "fixed": {**spec.fixed, SETTINGS: str(settings)}}
    cluster = ClusterSpec(
        storage=str(folder), cpus_per_trial=devices_per_trial, gpus_per_trial=0, heartbeat_seconds=None
    )
    return spec.model_copy(
        update={
            **trials,
            "name": NAME,
            "objective": None if spec.objectives else spec.resolved_objective(),
            **{"constraints": (), "measure": ()},
            "space": Space({}),
            "hp_space": None,
            "strategies": strategies,
            "cluster": cluster,
            "store": sqlite_url(folder / NAME / STORE_FILE),
            "wandb": WandbSpec(mode="disabled"),
            "until": None,
            "extended": (),
            **{"points": (), "priors": {}, "start_from": (), "earlier": ()},  # the strategies' spaces carry them
        }
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Makes a folder for what is recorded, in memory where that is possible: nobody waits for a disk then."""
    with TemporaryDirectory(prefix="tunefleet-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _simulated_trials() -> Iterator[None]:
    """Makes the trainable `NAME` known in the block; keeps a run that only seems to happen from logging."""
    before = logging.root.manager.disable
    target = f"{SimulatedTraining.__module__}:{SimulatedTraining.__qualname__}"
    logging.disable(logging.ERROR)
    try:
        with mock.patch.dict(TRAININGS, {NAME: target}):
            yield
    finally:
        logging.disable(before)


def _few_snapshots() -> contextlib.AbstractContextManager[object]:
    """Keeps Tune from saving a state that nobody resumes."""
    return mock.patch.dict("os.environ", {"TUNE_GLOBAL_CHECKPOINT_S": "1000000"})
