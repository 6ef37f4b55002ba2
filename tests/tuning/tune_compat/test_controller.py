"""Our controller and processes that start. Nodes that are lost are tested in `supervision/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.simulated_studies import long_experiment, run_study
from tuning.outcome import TrialState
from tuning.testing.simulated_ray import SimulatedNode

pytestmark = pytest.mark.tune

SLOTS, TRIALS = 4, 30


def test_short_trials_on_a_cold_cluster_start_no_more_processes_than_there_are_slots(tmp_path: Path) -> None:
    """Trials end faster than processes start.

    Ray alone gives a free process to a trial whose own starts, and stops that one: over and over, so that the slots
    never fill.
    """
    short = {"model.seconds_per_epoch": 0.2}
    strategies = [{"kind": "grid", "points": TRIALS}]
    spec = long_experiment(tmp_path, epochs=1, fixed=short, strategies=strategies, cluster={"max_concurrent": SLOTS})
    study, ray = run_study(spec, SimulatedNode(cpus=SLOTS), start_seconds=(5.0, 10.0, 15.0, 20.0))
    assert study.count(TrialState.COMPLETED) == TRIALS
    assert len(ray.actors) == SLOTS
    assert {trial for _, trial, method in ray.calls if method == "train"} == {trial.id for trial in study.trials}
