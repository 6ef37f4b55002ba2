"""A Trainer of the user's own in two processes (DDP): rank 0 reports, all obey. Logical GPUs, so over gloo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import curve_fields
from tests.support.user_trainers import BATCH
from trainables.lookup import build_training
from trainables.spec import FineTuneSpec, Objective
from trainables.worker.team import workers_for
from tuning import load_spec, run_experiment
from tuning.outcome import TrialState

FACTORY = "tests.support.user_trainers:make_still_trainer"


@pytest.mark.unit
def test_there_is_a_process_for_each_gpu() -> None:
    assert [workers_for(FACTORY, gpus) for gpus in (0, 0.5, 1, 2)] == [1, 1, 1, 2]


@pytest.mark.ray
def test_two_processes_train_as_one_with_twice_the_batch_and_clone_each_other(
    ray_session: None, tmp_path: Path
) -> None:
    fields = curve_fields(
        tmp_path,
        trainable=FACTORY,
        epochs=3,
        seed=3,
        objective={"metric": "loss", "mode": "min"},
        fixed={"per_device_train_batch_size": BATCH // 2},
        space={"learning_rate": {"loguniform": [1e-3, 1e-2]}},
        strategies=[{"kind": "pbt", "population": 2, "quantile": 0.5}],
        # auto: the GPUs of the Ray in use count, not those of this machine
        cluster={"address": "auto", "gpus_per_trial": 2, "max_concurrent": 1},
    )
    del fields["task"]
    study = run_experiment(load_spec(fields), progress=False).study("pbt", 0)
    assert study.count(TrialState.FAILED) == 0
    assert study.attributes["processes"] == 2
    alone = FineTuneSpec(trainable=FACTORY, epochs=3, seed=3, objective=Objective(metric="loss", mode="min"))
    for trial in study.trials:
        until = trial.lineage[0].reports if trial.lineage else len(trial.reports)
        one = build_training({**trial.reports[0].params, "per_device_train_batch_size": BATCH}, alone)
        for report in trial.reports[:until]:
            assert report.metrics["loss"] == pytest.approx(one.advance(1).metrics["loss"], rel=1e-4)
    exploits = [(trial, exploit) for trial in study.trials for exploit in trial.lineage]
    assert exploits
    for trial, exploit in exploits:
        assert exploit.new.items() <= trial.reports[exploit.reports].params.items()
