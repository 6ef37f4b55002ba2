"""The pool of processes asks Ray once for all results that have arrived, not once for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import long_experiment, run_study
from tuning.testing.simulated_ray import SimulatedNode, SimulatedRay

pytestmark = pytest.mark.tune

SLOTS, EPOCHS = 12, 3


def test_results_that_arrive_together_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    wait = SimulatedRay.wait

    def counted(ray: SimulatedRay, references: Any, **options: Any) -> Any:
        nonlocal asked
        asked += len(references) > 1 and options.get("timeout") != 0
        return wait(ray, references, **options)

    monkeypatch.setattr(SimulatedRay, "wait", counted)
    alike = {"strategies": [{"kind": "grid", "points": SLOTS}], "seeds": [0], "epochs": EPOCHS}
    study, ray = run_study(long_experiment(tmp_path, **alike), SimulatedNode(cpus=SLOTS))
    events = sum(method in ("train", "save") for _, _, method in ray.calls)
    assert events >= 2 * SLOTS * EPOCHS
    assert asked < events / 2
    assert [len(trial.reports) for trial in study.trials] == [EPOCHS] * SLOTS
