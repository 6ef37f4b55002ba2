"""Whole searches of a user's Trainer on real Ray: what comes back, and what the Trainer is afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from safetensors.torch import load_file
from transformers import Trainer
from transformers import hyperparameter_search as backends
from transformers.trainer_utils import BestRun, HPSearchBackend

from tests.support.user_trainers import VALIDATION, accuracy, rows, tiny_model, trainer
from trainables.errors import InputError
from tuning import hyperparameter_search, install
from tuning.outcome import TrialState

pytestmark = pytest.mark.ray

WHERE: dict[str, Any] = {"cluster": {"gpus_per_trial": 0}, "progress": False}


def hp_space(trial: Any) -> dict[str, Any]:
    """A space with computed values, a branch, and a name that the model reads."""
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    values = {"optim": optim, "learning_rate": 10 ** trial.suggest_float("log_rate", -3, -2)}
    if optim == "adamw_torch":
        values["adam_beta1"] = trial.suggest_float("beta", 0.8, 0.95)
    return {**values, "dropout": trial.suggest_float("dropout", 0.0, 0.3), "seed": trial.suggest_int("seed", 1, 9)}


def model_init(trial: Any) -> Any:
    return tiny_model(hidden_dropout_prob=0.1 if trial is None else trial.params["dropout"])


def right(metrics: dict[str, float]) -> float:
    return metrics["eval_accuracy"] - metrics["eval_loss"]


def weights(made: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in made.model.parameters()])


class Searched(NamedTuple):
    trainer: Trainer
    best: BestRun
    storage: Path


@pytest.fixture(scope="module")
def searched(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A Trainer of four trials with a space of branches and an objective of the user's."""
    storage = tmp_path_factory.mktemp("runs")
    factor = 1.0  # closed over, as in a script

    def compute_metrics(scored: Any) -> dict[str, float]:
        return {name: factor * value for name, value in accuracy(scored).items()}

    made = trainer(
        {"num_train_epochs": 2, "weight_decay": 0.25}, model_init=model_init, compute_metrics=compute_metrics
    )
    best = hyperparameter_search(
        made,
        hp_space,
        right,
        n_trials=4,
        direction="maximize",
        test_dataset=rows(VALIDATION, 2),
        storage=str(storage),
        name="searched",
        **WHERE,
    )
    return Searched(made, best, storage)


def test_the_objective_is_that_of_the_best_evaluation_and_not_of_the_last(searched: Searched) -> None:
    study = searched.best.run_summary.study
    every = [report.metrics["objective"] for trial in study.trials for report in trial.reports]
    assert len(every) == 8
    assert searched.best.objective == max(every)
    assert {report.metrics["accuracy"] - report.metrics["loss"] for t in study.trials for report in t.reports} == {
        *every
    }


def test_hyperparameters_are_what_was_in_force_and_not_what_was_suggested(searched: Searched) -> None:
    values = searched.best.hyperparameters
    suggested = searched.best.run_summary.trial.params
    assert values["learning_rate"] == 10 ** suggested["log_rate"]
    assert values.get("adam_beta1") == suggested.get("beta")
    assert "log_rate" not in values
    assert {type(values["seed"]), type(values["dropout"])} == {int, float}


def test_afterwards_the_trainer_has_the_best_values_and_its_own_others(searched: Searched) -> None:
    args, values = searched.trainer.args, searched.best.hyperparameters
    for name in values.keys() & vars(args).keys():
        assert str(getattr(args, name)) in (str(values[name]), f"OptimizerNames.{str(values[name]).upper()}")
    assert args.weight_decay == 0.25
    assert args.eval_strategy == "epoch"
    assert searched.trainer.model.config.hidden_dropout_prob == values["dropout"]


def test_afterwards_evaluate_gives_the_objective(searched: Searched) -> None:
    assert right(searched.trainer.evaluate()) == pytest.approx(searched.best.objective, abs=1e-7)


def test_afterwards_save_model_saves_the_best_weights(searched: Searched, tmp_path: Path) -> None:
    searched.trainer.save_model(str(tmp_path))
    saved = load_file(tmp_path / "model.safetensors")
    best = load_file(next(Path(searched.best.run_summary.checkpoint).glob("*/weights.safetensors")))
    assert saved.keys() == best.keys()
    assert all(torch.equal(saved[name], best[name]) for name in best)


def test_the_users_data_and_callbacks_stay_the_trainers(searched: Searched) -> None:
    assert searched.trainer.seen in searched.trainer.callback_handler.callbacks
    assert len(searched.trainer.eval_dataset) == VALIDATION


def test_the_summary_has_study_outcome_trials_schedule_checkpoint_and_page(searched: Searched, tmp_path: Path) -> None:
    summary = searched.best.run_summary
    assert str(summary.trial.number) == searched.best.run_id
    assert summary.outcome.studies == (summary.study,)
    assert (len(summary.trials), len(summary.schedule)) == (4, 1)
    assert Path(summary.checkpoint).is_dir()
    assert "searched" in summary.report(tmp_path / "page.html").read_text()


def test_the_test_rows_are_scored_once_at_the_end(searched: Searched) -> None:
    test = searched.best.run_summary.study.test
    assert test is not None
    assert (test.rows, set(test.metrics)) == (VALIDATION, {"accuracy", "loss", "objective"})


def test_a_search_that_is_finished_comes_back_when_it_is_resumed(searched: Searched) -> None:
    again = trainer({"num_train_epochs": 2, "weight_decay": 0.25}, model_init=model_init)
    where = {"storage": str(searched.storage), "name": "searched", "test_dataset": rows(VALIDATION, 2)}
    best = hyperparameter_search(again, hp_space, right, 4, "maximize", resume=True, **where, **WHERE)
    assert best[:3] == searched.best[:3]
    assert torch.equal(weights(again), weights(searched.trainer))


@pytest.fixture
def installed() -> Iterator[None]:
    """Undo `install` after the test."""
    known = dict(backends.ALL_HYPERPARAMETER_SEARCH_BACKENDS)
    install(backends=["ray"])
    yield
    backends.ALL_HYPERPARAMETER_SEARCH_BACKENDS.clear()
    backends.ALL_HYPERPARAMETER_SEARCH_BACKENDS.update(known)
    if HPSearchBackend._member_map_.pop("TUNEFLEET", None) is not None:
        del HPSearchBackend._value2member_map_["tunefleet"]
        HPSearchBackend._member_names_.remove("TUNEFLEET")


def test_a_script_for_rays_pbt_runs_unchanged(ray_session: None, installed: None, tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 3})
    best = made.hyperparameter_search(
        hp_space=lambda _: {"per_device_train_batch_size": 16, "adam_epsilon": 1e-8},
        backend="ray",
        n_trials=4,
        resources_per_trial={"cpu": 1, "gpu": 0},
        scheduler=PopulationBasedTraining(
            time_attr="training_iteration",
            metric="eval_accuracy",
            mode="max",
            perturbation_interval=1,
            hyperparam_mutations={"weight_decay": tune.uniform(0, 0.3), "per_device_train_batch_size": [8, 16]},
            synch=True,
        ),
        keep_checkpoints_num=1,
        checkpoint_score_attr="training_iteration",
        stop=None,
        local_dir=str(tmp_path),
        name="tune_transformer_pbt",
        log_to_file=True,
    )
    summary = best.run_summary
    assert (summary.study.kind, summary.study.metric, summary.study.mode) == ("pbt", "eval_accuracy", "max")
    assert any(trial.lineage for trial in summary.trials)
    assert best.hyperparameters == summary.schedule[-1].params
    assert made.evaluate()["eval_accuracy"] == best.objective
    assert made.hp_search_backend is None


def fails_at_random(trial: Any) -> Any:
    if trial is not None and trial.params["seed"] % 2:
        raise RuntimeError("an odd one")
    return tiny_model()


def test_one_failing_trial_does_not_end_the_search(ray_session: None, installed: None, tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 1}, model_init=fails_at_random)
    best = made.hyperparameter_search(
        lambda trial: {"seed": trial.suggest_categorical("seed", [1, 2, 3, 4])},
        backend="tunefleet",
        n_trials=4,
        storage=str(tmp_path),
        catch=(RuntimeError,),
        **WHERE,
    )
    assert best.hyperparameters["seed"] in (2, 4)
    states = [trial.state for trial in best.run_summary.trials]
    assert (states.count(TrialState.FAILED), states.count(TrialState.COMPLETED)) == (2, 2)


def test_a_search_in_which_all_fail_says_why(ray_session: None, tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 1}, model_init=fails_at_random)
    space = {"seed": tune.choice([1, 3])}
    with pytest.raises(InputError, match=r"raises RuntimeError: an odd one \(.*no trial has begun"):
        hyperparameter_search(made, space, n_trials=2, storage=str(tmp_path), **WHERE)
    on = {"catch": (RuntimeError,)}
    with pytest.raises(InputError, match="no trial has a score: RuntimeError: an odd one"):
        hyperparameter_search(made, space, n_trials=2, storage=str(tmp_path), **on, **WHERE)


def test_a_factory_with_data_in_its_closure_is_searched(ray_session: None, tmp_path: Path) -> None:
    train = rows(64)

    def make_trainer(params: dict[str, Any]) -> Trainer:
        return trainer(params, train_dataset=train, args={"num_train_epochs": 2})

    space = {"learning_rate": {"loguniform": [1e-3, 1e-2]}}
    best = hyperparameter_search(make_trainer, space, n_trials=2, epochs=2, storage=str(tmp_path), **WHERE)
    assert math.isfinite(best.objective)
    losses = [report.metrics["loss"] for trial in best.run_summary.trials for report in trial.reports]
    assert (best.objective, len(losses)) == (min(losses), 4)


def test_the_defaults_are_the_trainer_as_it_is_beside_a_search_of_a_function(ray_session: None, tmp_path: Path) -> None:
    """The `model_init` of the defaults is called with None, as outside of a search."""
    made = trainer({"num_train_epochs": 1, "learning_rate": 3e-3}, model_init=model_init)
    best = hyperparameter_search(
        made, hp_space, n_trials=2, strategies=["random", "defaults"], storage=str(tmp_path), **WHERE
    )
    study = best.run_summary.outcome.study("defaults", 0)
    (trial,) = study.trials
    assert (trial.state, trial.error, trial.params) == (TrialState.COMPLETED, None, {})
    alone = trainer({"num_train_epochs": 1, "learning_rate": 3e-3}, model_init=model_init)
    best = hyperparameter_search(alone, hp_space, n_trials=2, strategies="defaults", storage=str(tmp_path), **WHERE)
    assert best.hyperparameters == {}
    assert alone.args.learning_rate == 3e-3
    assert alone.evaluate()["eval_loss"] == best.objective == trial.reports[-1].metrics["loss"]


def layered(trial: Any) -> Any:
    return tiny_model(num_hidden_layers=1 if trial is None else trial.params["layers"])


def test_several_objectives_come_back_as_a_list_with_what_each_costs(ray_session: None, tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 2}, model_init=layered)
    before = weights(made)
    found = hyperparameter_search(
        made,
        lambda trial: {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "layers": trial.suggest_int("layers", 1, 3),
        },
        n_trials=4,
        objective=["accuracy", "parameters"],
        storage=str(tmp_path),
        name="several",
        **WHERE,
    )
    assert isinstance(found, list)
    study = found[0].run_summary.study
    assert study.kind == "random_moasha"
    assert [one.objective for one in found] == [
        [report.metrics["accuracy"], report.metrics["parameters"]] for _, report in study.front()
    ]
    for one in found:
        model = tiny_model(num_hidden_layers=one.hyperparameters["layers"])
        assert one.objective[1] == sum(parameter.numel() for parameter in model.parameters())
        assert Path(one.run_summary.checkpoint).is_dir()
    assert torch.equal(weights(made), before)
