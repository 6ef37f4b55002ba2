"""A real fine-tuning, ours or of a Trainer of the user's own, whose driver is killed in the middle and resumed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.drivers import Drivers, Watched
from tests.support.power_cuts import in_virtual_time
from tests.support.specs import user_trainer_fields
from tests.support.stopped_runs import SECONDS, outcomes, study_of
from tuning import load_spec
from tuning.outcome import StudyState

ENDING = 30.0  # seconds that the processes of a killed driver may take to end
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")  # Ray's, which tell a server that is gone for a minute


@pytest.mark.system
@pytest.mark.parametrize("own", [pytest.param(False, marks=pytest.mark.smoke, id="ours"), pytest.param(True, id="own")])
def test_a_fine_tuning_whose_driver_is_killed_comes_to_the_same_models(
    drivers: Drivers, tmp_path: Path, tiny_model: Path, tiny_data: Path, own: bool
) -> None:
    """Bit for bit, as their scores and the test's are; and of the killed driver no process is left but Ray's agents."""

    def fields(storage: Path) -> dict[str, Any]:
        return of_a_trainer(storage) if own else fine_tuning(storage, tiny_model, tiny_data)

    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(fields(tmp_path / "runs")))
    spec = load_spec(spec_file)
    driver = Watched(drivers.start("run", str(spec_file)))
    assert driver.wait_until(lambda: len(driver.told) >= 4), driver.errors
    driver.process.kill()
    driver.end()
    until = time.monotonic() + ENDING
    while left := [command for command in drivers.alive().values() if not command.startswith(AGENTS)]:
        assert time.monotonic() < until, f"after {ENDING:g} s these of a killed driver still run: {left}"
        time.sleep(0.05)
    before = study_of(spec)
    assert before.state is StudyState.RUNNING

    resumed = drivers.start("resume", spec.name, "--storage", str(tmp_path / "runs"))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = study_of(spec)
    assert after.state is StudyState.FINISHED
    (expected,) = in_virtual_time(load_spec(fields(tmp_path / "whole"))).studies
    assert any(trial.lineage for trial in expected.trials)
    assert outcomes(after) == outcomes(expected)
    assert after.test is not None
    assert expected.test is not None
    assert after.test.metrics == expected.test.metrics


def of_a_trainer(storage: Path) -> dict[str, Any]:
    recipe = {"kind": "pbt", "population": 3, "quantile": 0.34}
    objective = {"metric": "accuracy", "mode": "max"}
    cluster = {"max_concurrent": 1}
    return user_trainer_fields(storage, name="killed", objective=objective, strategies=[recipe], cluster=cluster)


def fine_tuning(storage: Path, model: Path, data: Path) -> dict[str, Any]:
    return {
        "name": "killed",
        "task": "text_classification",
        "data": {"path": str(data), "text": ["text"], "label": "label", "max_length": 32},
        "model": str(model),
        "epochs": 4,
        "space": {"learning_rate": {"loguniform": [1e-4, 1e-2]}},
        "strategies": [{"kind": "pbt", "population": 3, "quantile": 0.34}],
        "objective": {"metric": "accuracy", "mode": "max"},
        "precision": "fp32",
        "cluster": {"storage": str(storage), "max_concurrent": 1, "gpus_per_trial": 0},
    }
