"""Whole experiments with a Trainer of the user's own, on real Ray: from a factory's name to the test score."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import curve_experiment
from tuning import run_experiment
from tuning.outcome import TrialState

pytestmark = pytest.mark.ray

FACTORY = "tests.support.user_trainers:make_trainer"


def test_a_trainer_of_the_users_own_is_searched_and_cloned_with_new_values_in_force(
    ray_session: None, tmp_path: Path
) -> None:
    spec = curve_experiment(
        tmp_path,
        trainable=FACTORY,
        task=None,
        epochs=3,
        objective={"metric": "eval_accuracy", "mode": "max"},
        space={"learning_rate": {"loguniform": [1e-3, 1e-2]}, "per_device_train_batch_size": {"choice": [8, 16]}},
        strategies=[
            {"kind": "hyperopt_asha", "trials": 3},
            {"kind": "pbt", "population": 2, "quantile": 0.5},
        ],
        cluster={"gpus_per_trial": 0},
    )
    outcome = run_experiment(spec, progress=False)
    for study in outcome.studies:
        assert study.count(TrialState.FAILED) == 0
        assert study.test is not None
        assert study.test.rows == 32
        assert {"eval_accuracy", "loss"} == set(study.test.metrics)
    pbt = outcome.study("pbt", 0)
    exploits = [(trial, exploit) for trial in pbt.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        assert exploit.new != exploit.old
        assert trial.reports[exploit.reports].params == exploit.new  # read off optimizer and loader
