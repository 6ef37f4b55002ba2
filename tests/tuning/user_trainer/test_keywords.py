"""The keywords of the three backends: all of them are known, each becomes what the table says, or is refused."""

from __future__ import annotations

import inspect
from typing import Any

import optuna
import pytest
from hyperopt import hp
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)
from ray.tune.schedulers.pb2 import PB2
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch

from trainables.errors import InputError
from tuning.space.foreign import read_dimension
from tuning.space.ranges import IntUniform, Uniform
from tuning.user_trainer.keywords import TABLE, as_markdown, read_keywords
from tuning.user_trainer.search_options import SearchOptions

pytestmark = pytest.mark.unit


def options(backend: str | None = None, **keywords: Any) -> SearchOptions:
    """The options that keywords set, for trials of 8 epochs with an evaluation every two."""
    found = SearchOptions(epochs=8.0, report_every_epochs=2.0, trials=20)
    read_keywords(keywords, backend, found)
    return found


@pytest.mark.parametrize(
    ("backend", "function"),
    [("optuna", optuna.create_study), ("optuna", optuna.Study.optimize), ("ray", tune.run)],
)
def test_every_keyword_of_the_library_stands_in_the_table(backend: str, function: Any) -> None:
    ours = {"self", "func", "n_trials", "direction"}  # parameters of hyperparameter_search itself
    known = {keyword.name for keyword in TABLE[backend]}
    assert set(inspect.signature(function).parameters) - ours <= known


def test_each_row_says_what_a_keyword_becomes_or_why_not_and_what_to_do() -> None:
    for keywords in TABLE.values():
        assert len({keyword.name for keyword in keywords}) == len(keywords)
        for keyword in keywords:
            assert (keyword.becomes and keyword.apply) or (keyword.refused and keyword.instead), keyword.name
            assert f"| `{keyword.name}` | {keyword.description} |" in as_markdown()


@pytest.mark.parametrize("keyword", [(b, k) for b, ks in TABLE.items() for k in ks if k.apply is None])
def test_a_refused_keyword_is_reported_with_reason_and_way_out(keyword: Any) -> None:
    backend, row = keyword
    with pytest.raises(InputError) as shown:
        options(backend, **{row.name: "given"})
    assert (shown.value.name, shown.value.rule, shown.value.next_step) == (row.name, row.refused, row.instead)


def test_what_is_none_was_not_given() -> None:
    assert options("ray", stop=None, scheduler=None) == options()


@pytest.mark.parametrize(
    ("backend", "keyword", "shown"),
    [
        (None, "shceduler", "no such keyword; did you mean scheduler"),
        ("ray", "progress_reporters", "no such keyword; did you mean progress_reporter"),
        ("optuna", "scheduler", "is a keyword of backend='ray', and this search names 'optuna'"),
    ],
)
def test_an_unknown_keyword_is_an_error_with_the_nearest_name(backend: str | None, keyword: str, shown: str) -> None:
    with pytest.raises(InputError, match=rf"^{keyword}: .*{shown}"):
        options(backend, **{keyword: 1})


@pytest.mark.parametrize("backend", [None, "optuna", "ray", "wandb"])
def test_name_and_storage_are_taken_with_every_backend(backend: str | None) -> None:
    assert options(backend, name="mine", storage="s3://bucket/runs").spec == {
        "name": "mine",
        "cluster.storage": "s3://bucket/runs",
    }


@pytest.mark.parametrize(
    ("keywords", "spec"),
    [
        ({"storage": "sqlite:///a.db", "study_name": "mine"}, {"store": "sqlite:///a.db", "name": "mine"}),
        ({"storage": "postgresql+psycopg://host/db"}, {"store": "postgresql+psycopg://host/db"}),
        ({"timeout": 60, "n_jobs": 2}, {"budget.wall_seconds": 60.0, "cluster.max_concurrent": 2}),
        ({"n_jobs": -1, "catch": (), "gc_after_trial": True}, {}),
        ({"catch": (ValueError,)}, {"alike_failures": None}),
    ],
)
def test_optuna_keywords_become_parts_of_the_spec(keywords: dict[str, Any], spec: dict[str, Any]) -> None:
    assert options("optuna", **keywords).spec == spec


def test_an_rdb_storage_of_optuna_is_the_store(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    assert options("optuna", storage=optuna.storages.RDBStorage(url)).spec == {"store": url}
    assert options("optuna", storage=optuna.storages.InMemoryStorage()).spec == {}


def test_load_if_exists_goes_on_and_the_progress_bar_can_be_off() -> None:
    found = options("optuna", load_if_exists=True, show_progress_bar=False)
    assert (found.resume_if_exists, found.resume, found.progress) == (True, False, False)


@pytest.mark.parametrize(
    ("sampler", "proposes"),
    [
        (optuna.samplers.TPESampler(seed=42), "optuna"),
        (optuna.samplers.RandomSampler(seed=42), "random"),
        (optuna.samplers.GridSampler({"learning_rate": [1e-5, 1e-4]}), "grid"),
    ],
)
def test_a_sampler_chooses_who_proposes(sampler: Any, proposes: str) -> None:
    assert options("optuna", sampler=sampler).searcher == proposes


def test_a_samplers_seed_decides_ours_and_no_seed_leaves_it() -> None:
    seeds = [options(sampler=optuna.samplers.TPESampler(seed=seed)).seed for seed in (42, 42, 43)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert options(sampler=optuna.samplers.TPESampler()).seed is None


def test_the_values_of_a_grid_sampler_are_the_grid() -> None:
    sampler = optuna.samplers.GridSampler({"learning_rate": [1e-5, 1e-4]})
    assert options(sampler=sampler).grid == {"learning_rate": [1e-5, 1e-4]}


@pytest.mark.parametrize(
    ("pruner", "stops"),
    [
        (optuna.pruners.NopPruner(), None),
        (
            optuna.pruners.SuccessiveHalvingPruner(),
            {"pruner": "asha", "grace_epochs": 2.0, "reduction_factor": 4.0},
        ),
        (
            optuna.pruners.HyperbandPruner(min_resource=2),
            {"pruner": "hyperband", "grace_epochs": 4.0, "reduction_factor": 3.0},
        ),
        (
            optuna.pruners.MedianPruner(n_warmup_steps=1),
            {"pruner": "median", "grace_epochs": 2.0, "startup_trials": 5},
        ),
        (
            optuna.pruners.PercentilePruner(30.0, n_startup_trials=0),
            {"pruner": "percentile", "grace_epochs": 2.0, "startup_trials": 1, "percentile": 30.0},
        ),
        (
            optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_warmup_steps=2), patience=1),
            {"pruner": "patient", "grace_epochs": 4.0, "startup_trials": 5, "patience": 2},
        ),
    ],
)
def test_a_pruner_becomes_that_of_the_strategy(pruner: Any, stops: Any) -> None:
    assert options("optuna", pruner=pruner).pruner == stops


@pytest.mark.parametrize(
    ("keywords", "shown"),
    [
        ({"sampler": optuna.samplers.NSGAIISampler()}, "sampler: 'NSGAIISampler'"),
        ({"pruner": optuna.pruners.ThresholdPruner(lower=0)}, "pruner: 'ThresholdPruner'"),
        ({"scheduler": HyperBandScheduler()}, "scheduler: 'HyperBandScheduler'"),
        ({"scheduler": MedianStoppingRule()}, "scheduler: 'MedianStoppingRule'"),
        ({"scheduler": ASHAScheduler(time_attr="time_total_s")}, r"scheduler\.time_attr: 'time_total_s'"),
        ({"scheduler": ASHAScheduler(brackets=2)}, r"scheduler\.brackets: 2"),
        ({"scheduler": ASHAScheduler(max_t=2)}, r"scheduler\.max_t: 2: ends trials after 4 epochs"),
        (
            {"scheduler": PopulationBasedTraining(hyperparam_mutations={"a": [1, 2]})},
            r"scheduler\.time_attr: 'time_total_s'",
        ),
        (
            {"scheduler": PopulationBasedTraining("epoch", hyperparam_mutations={"a": lambda: 1})},
            r"scheduler\.hyperparam_mutations\.a: .* no bounds",
        ),
        ({"resources_per_trial": {"custom": 1}}, "resources_per_trial"),
    ],
)
def test_what_no_strategy_does_is_refused_by_name(keywords: dict[str, Any], shown: str) -> None:
    with pytest.raises(InputError, match=rf"^{shown}"):
        options(**keywords)


def test_asha_of_ray_counts_evaluations() -> None:
    found = options("ray", scheduler=ASHAScheduler(metric="eval_acc", mode="max", grace_period=2, reduction_factor=3))
    assert found.asha == {"grace_epochs": 4.0, "reduction_factor": 3.0}
    assert found.objective is not None
    assert (found.objective.metric, found.objective.mode) == ("eval_acc", "max")


def test_pbt_of_ray_becomes_pbt_with_its_settings() -> None:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="eval_acc",
        mode="max",
        perturbation_interval=1,
        hyperparam_mutations={"weight_decay": tune.uniform(0, 0.3), "per_device_train_batch_size": [16, 32]},
        quantile_fraction=0.5,
        resample_probability=0.1,
    )
    found = options("ray", scheduler=scheduler)
    assert found.pbt == {
        "kind": "pbt",
        "perturb_every_epochs": 2.0,
        "quantile": 0.5,
        "synchronous": False,
        "resample_probability": 0.1,
        "factors": [0.8, 1.2],
    }
    assert set(found.mutations) == {"weight_decay", "per_device_train_batch_size"}


def test_pb2_of_ray_becomes_pb2_over_its_bounds() -> None:
    bounds = {"weight_decay": [0.0, 0.3], "warmup_steps": [0, 500]}
    scheduler = PB2("training_iteration", "eval_acc", "max", 1, hyperparam_bounds=bounds, synch=True)
    found = options("ray", scheduler=scheduler)
    assert found.pbt == {"kind": "pb2", "perturb_every_epochs": 2.0, "quantile": 0.25, "synchronous": True}
    ranges = {name: read_dimension(name, domain) for name, domain in found.mutations.items()}
    assert ranges == {"weight_decay": Uniform(uniform=(0.0, 0.3)), "warmup_steps": IntUniform(int=(0, 500))}


@pytest.mark.parametrize(
    ("searcher", "proposes"),
    [
        (HyperOptSearch(metric="eval_loss", mode="min"), "hyperopt"),
        (OptunaSearch(metric="eval_loss", mode="min"), "optuna"),
        (BasicVariantGenerator(), "random"),
    ],
)
def test_a_searcher_of_ray_chooses_who_proposes(searcher: Any, proposes: str) -> None:
    assert options("ray", search_alg=searcher).searcher == proposes


@pytest.mark.parametrize("searcher", [HyperOptSearch, OptunaSearch, BasicVariantGenerator])
def test_the_points_of_a_searcher_are_tried_first(searcher: Any) -> None:
    points = [{"learning_rate": 1e-4}, {"learning_rate": 2e-4}]
    assert options("ray", search_alg=searcher(points_to_evaluate=points)).spec == {"points": points}


def test_points_that_a_searcher_has_made_its_own_are_refused() -> None:
    searcher = HyperOptSearch(
        {"learning_rate": hp.uniform("learning_rate", 0, 1)},
        metric="eval_loss",
        mode="min",
        points_to_evaluate=[{"learning_rate": 0.5}],
    )
    with pytest.raises(InputError, match=r"search_alg\.points_to_evaluate: .*; leave the searcher's space out"):
        options("ray", search_alg=searcher)


def test_a_limited_searcher_limits_the_slots() -> None:
    found = options("ray", search_alg=ConcurrencyLimiter(HyperOptSearch(metric="eval_loss", mode="min"), 3))
    assert (found.searcher, found.spec) == ("hyperopt", {"cluster.max_concurrent": 3})


def test_the_other_keywords_of_ray_become_parts_of_the_spec() -> None:
    found = options(
        "ray",
        resources_per_trial={"cpu": 2, "gpu": 1},
        num_samples=5,
        time_budget_s=60,
        keep_checkpoints_num=2,
        local_dir="~/ray_results/",
        scheduler=FIFOScheduler(),
        verbose=0,
    )
    assert found.spec == {
        "cluster.cpus_per_trial": 2.0,
        "cluster.gpus_per_trial": 1.0,
        "budget.wall_seconds": 60.0,
        "checkpoint.keep_best": 2,
        "cluster.storage": "~/ray_results/",
    }
    assert (found.trials, found.progress) == (5, False)


def test_checkpoints_that_ray_would_keep_are_kept() -> None:
    config = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="training_iteration")
    assert options("ray", checkpoint_config=config).spec == {"checkpoint.keep_best": 2}
    assert options("ray", checkpoint_config=tune.CheckpointConfig()).spec == {}


def test_a_metric_of_wandb_is_written_as_the_trainer_writes_it() -> None:
    found = options("wandb", metric="eval/accuracy", project="mine")
    assert found.objective is not None
    assert (found.objective.metric, found.spec) == ("eval_accuracy", {"wandb.project": "mine"})
