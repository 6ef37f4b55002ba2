"""Whole studies of every strategy that is found, in virtual time; and where ASHA stops trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.simulated_studies import run_study
from tests.support.specs import curve_experiment
from tests.support.strategies import make, study_contracts
from tuning.outcome import TrialState
from tuning.testing.study_contract import StudyContract

pytestmark = pytest.mark.tune

globals().update(study_contracts(StudyContract))


class TestWithoutAnEndOfItsOwn(StudyContract):
    strategy = make("random", trials=None)


@pytest.mark.parametrize(
    ("every", "fields", "rungs"),
    [
        (0.5, {"grace_epochs": 1.0, "reduction_factor": 2.0}, {1.0, 2.0}),
        (0.25, {"grace_epochs": 0.5, "reduction_factor": 3.0}, {0.5, 1.5}),
        (0.1, {"grace_epochs": 0.3, "reduction_factor": 2.0}, {0.3, 0.6, 1.2, 2.4}),
    ],
)
def test_asha_stops_trials_exactly_at_its_rungs(
    tmp_path: Path, every: float, fields: dict[str, float], rungs: set[float]
) -> None:
    strategy = {"kind": "hyperopt_asha", "trials": 8, **fields}
    study, _ = run_study(curve_experiment(tmp_path, report_every_epochs=every, strategies=[strategy]))
    stopped = {trial.epochs for trial in study.trials if trial.state is TrialState.STOPPED}
    assert len(study.trials) == 8
    assert {trial.epochs for trial in study.trials if trial.state is TrialState.COMPLETED} == {4.0}
    assert stopped
    assert stopped <= rungs
