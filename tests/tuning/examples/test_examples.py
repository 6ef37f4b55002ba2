"""Every example with Python of its own is run, small: by PBT where it declares it; and a copy that was edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.drivers import Drivers, Watched
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.outcome import StudyState, TrialState
from tuning.spec.file import EXAMPLES

OWN = [path.stem for path in sorted(EXAMPLES.glob("*.yaml")) if "trainable: tuning.examples." in path.read_text()]
SCORED_AT_THE_END = ("token-classification", "reward-model")  # their Trainers have a `test_dataset`
PBT = {"kind": "pbt", "population": 2, "quantile": 0.5}


@pytest.mark.ray
@pytest.mark.parametrize("name", OWN)
def test_every_example_runs_and_pbt_perturbs_those_that_declare_it(
    ray_session: None, tmp_path: Path, name: str
) -> None:
    shipped = load_spec(name)
    perturbs = any(strategy.kind == "pbt" for strategy in shipped.strategies)
    changed = {
        "strategies": [PBT if perturbs else {"kind": shipped.strategies[0].kind, "trials": 2}],
        "cluster": {"storage": str(tmp_path), "max_concurrent": 2, "gpus_per_trial": 0},
        "epochs": 2 if perturbs else shipped.epochs,
    }
    spec = load_spec({**shipped.model_dump(mode="json", exclude_defaults=True), **changed})
    (study,) = run_experiment(spec, progress=False).studies
    assert (study.state, study.count(TrialState.COMPLETED)) == (StudyState.FINISHED, 2)
    metric = spec.trial_spec(0).objective.metric
    assert all(metric in report.metrics for trial in study.trials for report in trial.reports)
    if name in SCORED_AT_THE_END:
        assert study.test is not None
        assert metric in study.test.metrics
    if perturbs:
        (exploit,) = [exploit for trial in study.trials for exploit in trial.lineage]
        (clone,) = (trial for trial in study.trials if trial.lineage)
        assert {**clone.reports[-1].params} == {**clone.reports[-1].params, **exploit.new} != dict(clone.params)
    else:
        assert all(trial.reports[-1].epoch <= spec.epochs for trial in study.trials)


@pytest.mark.system
def test_a_copy_that_was_edited_is_what_runs_from_its_folder(
    drivers: Drivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--example", "token-classification"]) == 0
    module = tmp_path / "token_classification.py"
    module.write_text(module.read_text().replace('"f1": f1', '"names": f1'))
    small = ["epochs=1", "strategies=[{kind: random, trials: 1}]", "objective.metric=names"]
    driver = Watched(drivers.start("run", "token-classification.yaml", *small))
    assert driver.end() == 0, driver.errors
    assert any("epoch 1/1  names " in line for line in driver.lines)
