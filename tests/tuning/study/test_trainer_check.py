"""A factory of Trainers is called once before the first trial: what it always raises ends the run there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.specs import user_trainer_fields
from trainables.errors import InputError
from tuning import load_spec, run_experiment
from tuning.outcome import ExperimentOutcome, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.study.trainer_check import make_on_node
from tuning.testing.simulated_ray import simulated_ray

pytestmark = pytest.mark.tune

MODULE = """
from transformers import EarlyStoppingCallback
from tests.support.user_trainers import trainer

def without_rows(params):
    raise FileNotFoundError(f"no rows for {params['learning_rate']}")

def with_one_optimizer(params):
    if params.pop("optim") == "unknown":
        raise KeyError("no such optimizer")
    return trainer(params)

def finding_its_batch_size(params):
    return trainer(params, args={"auto_find_batch_size": True})

def stopping_early(params):
    args = {"metric_for_best_model": "accuracy"}
    return trainer(params, args=args, callbacks=[EarlyStoppingCallback(1)])

def too_large(params):
    raise MemoryError
"""


def experiment(folder: Path, factory: str, patch: pytest.MonkeyPatch, **changed: object) -> ExperimentSpec:
    (folder / "own_factories.py").write_text(MODULE)
    patch.syspath_prepend(str(folder))
    strategies = [{"kind": "random", "trials": 4}]
    fields = {"trainable": f"own_factories:{factory}", "epochs": 1, "strategies": strategies, "test": False, **changed}
    return load_spec(user_trainer_fields(folder, **fields))


def run(spec: ExperimentSpec) -> ExperimentOutcome:
    with simulated_ray():
        return run_experiment(spec, progress=False)


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (
            "without_rows",
            r"trainable: 'own_factories:without_rows': raises FileNotFoundError: no rows for 0\.\d+ "
            r"\(own_factories\.py, line 6, in without_rows: raise FileNotFoundError\(.*\)\); mend it and start again",
        ),
        ("finding_its_batch_size", r"^auto_find_batch_size: True: "),
    ],
)
def test_a_factory_that_no_value_helps_ends_the_run_before_a_trial_and_the_name_is_free_again(
    tmp_path: Path, factory: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = experiment(tmp_path, factory, monkeypatch)
    with pytest.raises(InputError, match=told):
        run(spec)
    assert not (spec.run_folder / "spec.yaml").exists()
    assert not (spec.run_folder / "studies").exists()


def test_a_trainer_whose_values_no_population_can_change_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops, clones = {"kind": "random", "trials": 1}, {"kind": "pbt", "population": 2}
    spec = experiment(tmp_path, "stopping_early", monkeypatch, strategies=[stops, clones], epochs=2)
    with pytest.raises(InputError, match=r"EarlyStoppingCallback: .*remove the callback"):
        run(spec)
    assert not (spec.run_folder / "studies").exists()


def test_what_goes_by_the_values_is_a_failure_of_their_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"optim": {"choice": ["unknown", "adamw_torch"]}}
    spec = experiment(tmp_path, "with_one_optimizer", monkeypatch, space=space, strategies=[{"kind": "grid"}])
    (study,) = run(spec).studies
    assert [trial.state for trial in study.trials] == [TrialState.FAILED, TrialState.COMPLETED]
    good, bad = {"optim": "adamw_torch"}, {"optim": "unknown"}
    make_on_node(spec.trial_spec(0), [bad, bad, good], [])
    with pytest.raises(InputError, match="KeyError: 'no such optimizer'"):
        make_on_node(spec.trial_spec(0), [bad, bad], [])


def test_want_of_memory_is_left_to_the_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are started again once their neighbours have ended."""
    spec = experiment(tmp_path, "too_large", monkeypatch)
    make_on_node(spec.trial_spec(0), [{"learning_rate": 0.1}] * 3, [])
