"""Tune's controller as ours: processes that start. Nodes that are lost are in test_nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuning import load_spec, run_experiment
from tuning.outcome import TrialState

pytestmark = pytest.mark.ray

SLOTS, TRIALS = 4, 30


def test_short_trials_on_a_cold_cluster_start_no_more_processes_than_there_are_slots(
    ray_session: None, tmp_path: Path
) -> None:
    """Trials end faster than processes start; Ray alone gives a free process to a trial whose own starts, and stops
    that one: over and over, so that the slots never fill."""
    from ray._private import state

    spec = {
        "name": "short",
        "trainable": "learning_curve",
        "task": "reviews",
        "epochs": 1,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"learning_rate": {"loguniform": [1e-5, 1e-2]}},
        "fixed": {"model.seconds_per_epoch": 0.2},
        "strategies": [{"kind": "grid", "points": TRIALS}],
        "cluster": {"storage": str(tmp_path), "gpus_per_trial": 0, "max_concurrent": SLOTS},
        "test": False,
    }
    before = set(state.actors())
    (study,) = run_experiment(load_spec(spec), progress=False).studies
    assert study.count(TrialState.COMPLETED) == TRIALS
    started = [actor for actor_id, actor in state.actors().items() if actor_id not in before]
    assert len([actor for actor in started if "Slot" in actor["ActorClassName"]]) <= SLOTS
