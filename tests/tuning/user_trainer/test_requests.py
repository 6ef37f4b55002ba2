"""The experiment that the arguments of a search make, before anything starts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch
from transformers import Trainer

from tests.support.user_trainers import make_trainer, rows, tiny_model, trainer
from trainables.errors import InputError
from trainables.lookup import load_trainable
from tuning.errors import RunFolderError
from tuning.run_folder.folder import claim_run_folder
from tuning.space import read_space
from tuning.spec.mistakes import Mistake, SpecError
from tuning.spec.models import ExperimentSpec
from tuning.user_trainer.from_trainer import factory_of
from tuning.user_trainer.keyword_mistakes import in_keywords
from tuning.user_trainer.prepared_search import prepare_search
from tuning.user_trainer.request import SearchRequest, read_options
from tuning.user_trainer.search_options import SearchOptions

pytestmark = pytest.mark.unit

RATE = {"learning_rate": tune.loguniform(1e-5, 1e-3)}
LISTED = {
    "backend": None, "compute_objective": None, "direction": None, "hp_space": RATE, "n_trials": 4,
}  # fmt: skip


def suggested(trial: Any) -> dict[str, Any]:
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)}


def computed(trial: Any) -> dict[str, Any]:
    return {"learning_rate": 10 ** trial.suggest_float("log_rate", -5, -3)}


def branching(trial: Any) -> dict[str, Any]:
    optim = trial.suggest_categorical("optim", ["adamw_torch", "sgd"])
    return {"optim": optim} if optim == "sgd" else {"optim": optim, "adam_beta1": trial.suggest_float("b", 0.8, 0.9)}


def population(**settings: Any) -> PopulationBasedTraining:
    mutations = {"learning_rate": tune.loguniform(1e-5, 1e-3)}
    given = {"time_attr": "training_iteration", "perturbation_interval": 1, "hyperparam_mutations": mutations}
    return PopulationBasedTraining(**{**given, "metric": "eval_loss", "mode": "min", **settings})


def with_dropout() -> Trainer:
    """A Trainer whose model has the trial's own value `dropout`."""
    made = trainer({})
    made.model_init = lambda trial: tiny_model(hidden_dropout_prob=trial["dropout"])
    return made


@pytest.fixture
def prepared(tmp_path: Path) -> Any:
    """Prepare a search of these arguments; keywords of the backends under `keywords`."""

    def prepared(made: Any = None, *, keywords: dict[str, Any] | None = None, **arguments: Any) -> ExperimentSpec:
        where = {"storage": str(tmp_path), **(keywords or {})}
        request = SearchRequest(
            trainer=trainer({}) if made is None else made, keywords=where, **{**LISTED, **arguments}
        )
        return prepare_search(request).spec

    return prepared


def test_a_trainers_arguments_say_how_long_and_how_often(prepared: Any) -> None:
    by_steps = {"eval_strategy": "steps", "eval_steps": 2}  # 64 rows, 16 a batch: half an epoch
    cases = [
        ({}, (4.0, 1.0)),
        ({"eval_strategy": "no"}, (4.0, 4.0)),
        (by_steps, (4.0, 0.5)),
        ({**by_steps, "gradient_accumulation_steps": 2}, (4.0, 1.0)),
        ({**by_steps, "eval_steps": 0.25}, (4.0, 1.0)),
        ({**by_steps, "eval_steps": 3}, (4.0, 0.75)),  # the last one, at the end, follows sooner
        ({**by_steps, "max_steps": 8}, (1.0, 0.25)),
        ({"max_steps": 8}, (1.0, 0.5)),
    ]
    for arguments, lengths in cases:
        spec = prepared(trainer(arguments))
        assert (spec.epochs, spec.report_every_epochs) == lengths, arguments


def accumulated(trial: Any) -> dict[str, Any]:
    batch = 2 ** trial.suggest_int("log_batch", 1, 4)  # 16 rows in each step, never 16 * 8
    return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 16 // batch}


def sometimes(trial: Any) -> dict[str, Any]:
    larger = trial.suggest_categorical("larger", [True, False])
    return {"per_device_train_batch_size": 4} if larger else {}  # else the 16 of the arguments


@pytest.mark.parametrize(
    ("arguments", "every"),
    [
        ({"hp_space": {**RATE, "per_device_train_batch_size": 32}}, 0.5),
        ({"hp_space": {**RATE, "per_device_train_batch_size": tune.choice([8, 16])}}, 0.25),
        ({"hp_space": {**RATE, "per_device_train_batch_size": tune.choice([8, 32])}}, 0.5),
        ({"hp_space": {**RATE, "gradient_accumulation_steps": tune.randint(1, 3)}}, 0.5),
        ({"hp_space": accumulated}, 0.25),
        ({"hp_space": sometimes}, 0.25),
        ({"report_every_epochs": 0.75}, 0.75),
    ],
)
def test_evaluations_by_steps_are_counted_in_the_largest_batch_of_a_trial(
    arguments: Any, every: float, prepared: Any
) -> None:
    by_steps = trainer({"eval_strategy": "steps", "eval_steps": 1, "num_train_epochs": 4})  # 64 rows, 16 in a batch
    assert prepared(by_steps, **arguments).report_every_epochs == every


@pytest.mark.parametrize(
    ("arguments", "every"),
    [
        ({"cluster": {"gpus_per_trial": 2}}, 0.5),
        ({"keywords": {"resources_per_trial": {"CPU": 1, "GPU": 2}}}, 0.5),
        ({"overrides": {"cluster.gpus_per_trial": 2}, "cluster": {"gpus_per_trial": 1}}, 0.5),
        ({"cluster": {"gpus_per_trial": 0.5}}, 0.25),
        ({"cluster": {"gpus_per_trial": "auto"}}, 0.25),
    ],
)
def test_each_process_of_a_trial_takes_a_batch_in_a_step(arguments: Any, every: float) -> None:
    by_steps = trainer({"eval_strategy": "steps", "eval_steps": 1})
    request = SearchRequest(trainer=by_steps, **{**LISTED, **arguments})
    assert read_options(request, factory_of(by_steps), read_space(RATE)).report_every_epochs == every


@pytest.mark.parametrize("count", [64, 70, 40])  # rows; in batches of 16
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_steps_of_an_epoch_are_those_that_the_trainer_counts(
    count: int, accumulation: int, drop_last: bool, prepared: Any
) -> None:
    arguments = {"gradient_accumulation_steps": accumulation, "dataloader_drop_last": drop_last}
    made = trainer({**arguments, "eval_strategy": "steps", "eval_steps": 2}, train_dataset=rows(count))
    per_epoch, total = (made.set_initial_training_values(made.args, made.get_train_dataloader())[i] for i in (1, 6))
    epochs = made.args.num_train_epochs
    assert total == per_epoch * epochs
    assert prepared(made).report_every_epochs == round(min(2 / per_epoch, epochs), 6)
    by_epochs = trainer({**arguments, "max_steps": 24}, train_dataset=rows(count))
    assert prepared(by_epochs).report_every_epochs == round(per_epoch / 24, 6)


def test_a_searched_drop_of_the_last_batch_counts_for_the_distance_of_evaluations(prepared: Any) -> None:
    by_steps = trainer({"eval_strategy": "steps", "eval_steps": 1}, train_dataset=rows(70))
    for values, every in (([False], 0.2), ([True], 0.25), ([False, True], 0.25)):
        space = {**RATE, "dataloader_drop_last": tune.choice(values)}
        assert prepared(by_steps, hp_space=space).report_every_epochs == every


def test_batches_that_pbt_changes_count_for_the_distance_of_evaluations(prepared: Any) -> None:
    scheduler = population(perturbation_interval=2, hyperparam_mutations={"per_device_train_batch_size": [8, 32]})
    by_steps = trainer({"eval_strategy": "steps", "eval_steps": 1})
    spec = prepared(by_steps, backend="ray", keywords={"scheduler": scheduler})
    assert (spec.report_every_epochs, spec.strategies[0].perturb_every_epochs) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eval_steps": 3}, r"^args\.eval_steps: 3: is an evaluation after each 0\.00075 of an epoch; .* to 4 or more"),
        ({"eval_steps": 3, "max_steps": 8000}, r"^args\.eval_steps: 3: .* 0\.00038 of the training; .* to 8 or more"),
        ({"eval_steps": 0.0001}, r"^args\.eval_steps: 0\.0001: .* of an epoch; .* set eval_steps to 0\.00025 or more"),
        (
            {"eval_strategy": "epoch", "max_steps": 5_000_000},
            r"^args\.eval_strategy: 'epoch': .*report_every_epochs=0\.",
        ),
    ],
)
def test_evaluations_that_are_too_close_are_refused(arguments: Any, message: str, prepared: Any) -> None:
    many = trainer({"eval_strategy": "steps", **arguments}, train_dataset=rows(64).select([0] * 64_000))
    with pytest.raises(InputError, match=message):
        prepared(many)
    assert prepared(many, report_every_epochs=0.5).report_every_epochs == 0.5


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ({"eval_delay": 2}, True),
        ({"eval_delay": 1}, False),  # the first evaluation is at the end of the first epoch anyway
        ({"eval_strategy": "no", "eval_delay": 2}, False),
        ({"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 3}, True),
        ({"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 2}, False),
        ({"eval_strategy": "steps", "eval_steps": 0.25, "eval_delay": 1}, True),
    ],
)
def test_a_delay_of_evaluations_that_trials_do_not_have_is_warned_of(
    arguments: Any, warned: bool, prepared: Any
) -> None:
    for report_every, expected in ((None, warned), (1.0, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            prepared(trainer(arguments), report_every_epochs=report_every)
        told = [str(one.message) for one in caught if str(one.message).startswith("args.eval_delay: ")]
        assert len(told) == expected, told
        assert all("from their beginning on" in line and "report_every_epochs=..." in line for line in told)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, 2, "at the same epochs; leave it out, and set it in Tr") for name in ("eval_steps", "eval_delay")),
        ("eval_strategy", "steps", "at the same epochs; leave it out, and set it in Tr"),
        ("save_strategy", "epoch", r"saves nothing by itself.*; leave it out; `checkpoint\.keep_best` in the spec"),
        ("load_best_model_at_end", True, r"saves nothing by itself.*; leave it out"),
        ("report_to", "wandb", "reports to the search alone; leave it out; `wandb` in the spec"),
        ("disable_tqdm", False, "reports to the search alone"),
        ("logging_steps", 5, "no score depends on what a trial logs"),
        ("push_to_hub", True, "pushes nothing to the Hub; leave it out, and push"),
        ("output_dir", "mine", "a trial has a scratch folder"),
        ("do_eval", True, "no Trainer reads it"),
    ],
)
@pytest.mark.parametrize("values", ["constants", "suggested"])
def test_a_space_has_no_arguments_that_a_trial_replaces(
    name: str, value: Any, message: str, values: str, prepared: Any
) -> None:
    space = {**RATE, name: value} if values == "constants" else lambda trial: {**suggested(trial), name: value}
    with pytest.raises(InputError, match=rf"^space: '{name}': .*{message}"):
        prepared(hp_space=space)


@pytest.mark.parametrize(
    ("arguments", "decided"),
    [
        ({}, 1.0),
        ({"eval_steps": 2}, 1.0),
        ({"eval_steps": 3}, 1.5),  # the first evaluation after an epoch
        ({"eval_steps": 9}, 2.25),
        ({"eval_steps": 2, "max_steps": 8}, 0.25),  # of a training that counts as one epoch
        ({"eval_steps": 1, "num_train_epochs": 1}, 0.25),
    ],
)
def test_strategies_decide_where_the_trainer_evaluates(arguments: Any, decided: float, prepared: Any) -> None:
    by_steps = {"eval_strategy": "steps"} if "eval_steps" in arguments else {}
    given = ["random_asha", "hyperopt_asha", "pbt", {"kind": "pbt", "label": "own", "perturb_every_epochs": 0.75}]
    strategies = given if arguments.get("eval_steps") == 3 else given[:3]
    spec = prepared(trainer({**by_steps, **arguments}), strategies=strategies)
    assert [one.grace_epochs for one in spec.strategies[:2]] == [decided, decided]
    assert [one.perturb_every_epochs for one in spec.strategies[2:]] == [decided, 0.75][: len(strategies) - 2]


def test_a_searched_length_makes_the_longest_trial(prepared: Any) -> None:
    assert prepared(hp_space={**RATE, "num_train_epochs": tune.choice([2, 3, 5])}).epochs == 5


def test_seeds_of_the_training_are_the_trainers_own(prepared: Any) -> None:
    spec = prepared(trainer({"seed": 11}), seeds=[0, 1])
    assert [spec.trial_spec(seed).training_seeds for seed in spec.seeds] == [(11, 11), (11, 11)]


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({}, ["hyperopt"]),
        ({"hp_space": suggested}, ["hyperopt"]),
        ({"hp_space": branching}, ["optuna"]),
        ({"backend": "ray"}, ["random"]),
        ({"backend": "ray", "keywords": {"scheduler": ASHAScheduler()}}, ["random_asha"]),
        ({"keywords": {"pruner": optuna.pruners.SuccessiveHalvingPruner()}}, ["optuna"]),
        ({"keywords": {"sampler": optuna.samplers.TPESampler()}, "hp_space": branching}, ["optuna"]),
        ({"backend": "ray", "keywords": {"search_alg": OptunaSearch(), "scheduler": ASHAScheduler()}}, ["optuna"]),
        ({"strategies": "pbt"}, ["pbt"]),
        ({"strategies": ["random", {"kind": "pbt", "population": 2}]}, ["random", "pbt"]),
    ],
)
def test_the_strategy_is_the_one_that_was_asked_for(arguments: Any, kinds: list[str], prepared: Any) -> None:
    spec = prepared(**arguments)
    assert [strategy.kind for strategy in spec.strategies] == kinds
    assert spec.strategies[0].planned_trials(spec.space_of(spec.strategies[0])) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"backend": "ray", "keywords": {"search_alg": HyperOptSearch()}, "hp_space": branching},
            r"^search_alg: 'TPE': it is HyperOpt's TPE.*optim, b; give OptunaSearch",
        ),
        (
            {"strategies": "random", "keywords": {"sampler": optuna.samplers.RandomSampler()}},
            r"^strategies: 'random': sampler chooses a strategy, too; leave sampler out, or strategies",
        ),
        (
            {
                "strategies": ["pbt"],
                "keywords": {"pruner": optuna.pruners.MedianPruner(), "sampler": optuna.samplers.TPESampler()},
            },
            r"sampler and pruner choose a strategy, too",
        ),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused_by_the_keyword_in_the_script(
    arguments: Any, message: str, prepared: Any
) -> None:
    with pytest.raises(InputError, match=message):
        prepared(**arguments)


def test_a_study_in_a_database_is_what_optunas_sampler_learns_from(prepared: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mine.db"
    keywords = {"storage": url, "study_name": "mine", "sampler": optuna.samplers.GPSampler(), "load_if_exists": True}
    (strategy,) = prepared(keywords=keywords, cluster={"storage": str(tmp_path)}).strategies
    assert (strategy.kind, strategy.sampler, strategy.user_study) == ("optuna", "gp", ("mine", url))


def test_without_a_number_of_trials_the_budget_ends_the_search(prepared: Any) -> None:
    spec = prepared(n_trials=None, keywords={"timeout": 60})
    assert spec.strategies[0].planned_trials(spec.space) is None
    with pytest.raises(SpecError, match="trials"):
        prepared(n_trials=None)


def test_a_sweep_of_wandb_says_how_it_searches(prepared: Any) -> None:
    sweep = {
        "method": "bayes",
        "parameters": {"learning_rate": {"min": 1e-6, "max": 1e-4}},
        "early_terminate": {"type": "hyperband", "eta": 3},
    }
    spec = prepared(hp_space=lambda trial: sweep, backend="wandb")
    assert (spec.strategies[0].kind, spec.space.names) == ("hyperopt_asha", ("learning_rate",))


def test_pbt_of_ray_changes_its_mutations_and_nothing_else(prepared: Any) -> None:
    mutations = {"weight_decay": tune.uniform(0, 0.3), "per_device_train_batch_size": [16, 32, 64]}
    scheduler = population(metric="eval_acc", mode="max", hyperparam_mutations=mutations)
    space = {"per_device_train_batch_size": 32, "num_train_epochs": tune.choice([2, 3]), **RATE}
    spec = prepared(hp_space=lambda _: space, backend="ray", keywords={"scheduler": scheduler}, direction="minimize")
    changed = {name for name, dimension in spec.space.searched.items() if dimension.mutate}
    assert changed == {"weight_decay", "per_device_train_batch_size"}
    assert set(spec.space.searched) == changed | {"num_train_epochs", "learning_rate"}
    assert spec.objective is not None
    assert (spec.objective.metric, spec.objective.mode) == ("eval_acc", "max")


@pytest.mark.parametrize(
    ("arguments", "objective"),
    [
        ({}, ("loss", "min")),
        ({"direction": "minimize"}, ("loss", "min")),
        ({"direction": "maximize", "compute_objective": len}, ("objective", "max")),
        ({"direction": "maximize", "objective": "eval_accuracy"}, ("eval_accuracy", "max")),
        ({"objective": {"metric": "accuracy", "mode": "max"}}, ("accuracy", "max")),
    ],
)
def test_the_objective_is_the_users_or_the_loss(arguments: Any, objective: Any, prepared: Any) -> None:
    found = prepared(**arguments).objective
    assert (found.metric, found.mode) == objective


@pytest.mark.parametrize(
    ("arguments", "objectives"),
    [
        (
            {"direction": ["maximize", "minimize"], "compute_objective": len},
            [("objective_0", "max"), ("objective_1", "min")],
        ),
        ({"objective": ["eval_accuracy", "latency_ms"]}, [("eval_accuracy", "max"), ("latency_ms", "min")]),
        ({"objective": ["a", "b"], "direction": ["maximize", "minimize"]}, [("a", "max"), ("b", "min")]),
        ({"objective": [{"metric": "a", "mode": "min"}, "loss"]}, [("a", "min"), ("loss", "min")]),
    ],
)
def test_a_list_gives_several_objectives_which_moasha_searches(arguments: Any, objectives: Any, prepared: Any) -> None:
    spec = prepared(**arguments)
    assert [(one.metric, one.mode) for one in spec.objectives] == objectives
    assert spec.objective is None
    (strategy,) = spec.strategies
    assert (strategy.kind, strategy.trials) == ("random_moasha", 4)
    named = prepared(strategies=["random", "grid"], **arguments)
    assert [one.kind for one in named.strategies] == ["random", "grid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"direction": ["minimize", "maximize"]},
            r"^direction: \['minimize', .* write objective=\['accuracy', 'latency",
        ),
        ({"direction": ["minimize"], "compute_objective": len}, r"^direction: \['minimize'\]: is a list of one"),
        ({"direction": ["minimize", "up"], "compute_objective": len}, r"^direction: 'up': must be"),
        (
            {"direction": ["minimize"] * 3, "objective": ["accuracy", "loss"]},
            r"^direction: .*has 3 entries, and object",
        ),
        ({"objective": ["accuracy", "speed"]}, r"^objective: 'speed': nothing says which way is better"),
        ({"objective": ["accuracy", 3]}, r"^objective: 3: must name a metric"),
        ({"objective": ["accuracy", "loss"], "compute_objective": len}, r"^objective: .*gives objectives, too"),
        (
            {"direction": "maximize"},
            r"^direction: 'maximize': without compute_objective .* choose a metric by its name",
        ),
        ({"direction": "max"}, r"^direction: 'max': must be 'minimize' or 'maximize'"),
        ({"objective": "accuracy"}, r"^objective: 'accuracy': nothing says which way is better"),
        ({"n_trials": 0}, r"^n_trials: 0"),
        ({"hp_space": {"dataloader_drop_last": tune.choice(["false"])}}, r"^space\.dataloader_drop_last: 'false'"),
        ({"made": make_trainer}, r"^epochs: None: a factory does not show.*write epochs=3"),
        ({"made": 3}, r"^trainer: 3: an int is no Trainer"),
        ({"resume": True}, r"^name: None: which experiment is to go on"),
        ({"strategies": "pbt", "keywords": {"scheduler": ASHAScheduler()}}, r"^strategies: 'pbt': scheduler"),
        ({"keywords": {"callbacks": [1]}}, r"^callbacks: "),
    ],
)
def test_a_mistake_is_reported_before_anything_starts(arguments: Any, message: str, prepared: Any) -> None:
    with pytest.raises(InputError, match=message):
        prepared(**arguments)


def lengthened(trial: Any) -> dict[str, Any]:
    return {**suggested(trial), "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 3)}


def doubled(trial: Any) -> dict[str, Any]:
    return {**suggested(trial), "num_train_epochs": 2 ** trial.suggest_int("log_epochs", 0, 2)}


@pytest.mark.parametrize(
    ("by", "arguments"),
    [
        ("pruner", {"keywords": {"pruner": optuna.pruners.MedianPruner()}, "hp_space": None}),
        ("pruner", {"keywords": {"pruner": optuna.pruners.HyperbandPruner()}, "hp_space": doubled}),
        ("scheduler", {"keywords": {"scheduler": ASHAScheduler()}, "hp_space": lengthened}),
        (
            "hp_space.early_terminate",
            {
                "hp_space": {
                    "parameters": {"num_train_epochs": {"values": [1, 2]}, "learning_rate": {"min": 1e-6, "max": 1e-4}},
                    "early_terminate": {"type": "hyperband"},
                }
            },
        ),
    ],
)
def test_rungs_and_trainings_of_unequal_length_are_refused_with_a_step_for_python(
    by: str, arguments: Any, prepared: Any
) -> None:
    with pytest.raises(InputError, match=rf"^{by}: .*num_train_epochs.*; leave {by} out, .*overrides=\{{") as refused:
        prepared(**arguments)
    written = refused.value.next_step.partition("overrides=")[2]
    assert written == "{'strategies.0.compare_unequal_schedules': True}"
    spec = prepared(overrides={"strategies.0.compare_unequal_schedules": True}, **arguments)
    assert spec.strategies[0].compare_unequal_schedules


def test_a_named_strategy_with_rungs_says_how_to_accept_unequal_lengths(prepared: Any) -> None:
    with pytest.raises(
        InputError, match=r"^strategies: 'random_asha': .* or accept it: \{'kind': 'random_asha', 'comp"
    ):
        prepared(strategies=["hyperopt", "random_asha"], hp_space=lengthened)
    accepted = {"kind": "random_asha", "compare_unequal_schedules": True}
    assert prepared(strategies=[accepted, "hyperopt"], hp_space=lengthened).strategies[0].compare_unequal_schedules


BY_STEPS = {"eval_strategy": "steps", "eval_steps": 3}  # of the 4 of an epoch


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (
            {},
            {"scheduler": population(perturbation_interval=60.0)},
            r"^scheduler\.perturbation_interval: 60\.0: comes at epoch 60, and trials end at 4, .*_interval=1$",
        ),
        (
            {"num_train_epochs": 1},
            {"scheduler": population()},
            r"^args\.num_train_epochs: 1: no evaluation falls before its end, and scheduler decides .*leave scheduler",
        ),
        (
            BY_STEPS,
            {"scheduler": population(time_attr="epoch")},
            r"^scheduler\.perturbation_interval: 1: comes at epoch 1, .* every 0\.75 epochs, .*'training_iter",
        ),
        (
            BY_STEPS,
            {"scheduler": ASHAScheduler(time_attr="epoch")},
            r"^scheduler\.grace_period: 1\.?0?: comes at epoch 1",
        ),
        (
            {"eval_strategy": "no"},
            {"pruner": optuna.pruners.MedianPruner()},
            r"^args\.eval_strategy: 'no': pruner decides after evaluations on the way; .*, or leave pruner out",
        ),
        (
            {},
            {"scheduler": population(hyperparam_mutations={"num_train_epochs": [1, 2]})},
            r"^scheduler\.hyperparam_mutations\.num_train_epochs: .*middle of a trial.*; take it out of hyperparam_mut",
        ),
        ({}, {"study_name": "my study: bert/base"}, r"^study_name: 'my study: bert/base': must be letters"),
        ({}, {"name": "my study: bert/base"}, r"^name: 'my study: bert/base': must be letters"),
    ],
)
def test_a_keyword_that_cannot_be_kept_is_named_as_the_script_has_it(
    arguments: Any, keywords: Any, message: str, prepared: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        prepared(trainer(arguments), keywords=keywords)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"keywords": {"time_budget_s": 0}}, "time_budget_s"),
        ({"keywords": {"timeout": 0}}, "timeout"),
        ({"keywords": {"keep_checkpoints_num": 0}}, "keep_checkpoints_num"),
        ({"keywords": {"max_concurrent_trials": -1}}, "max_concurrent_trials"),
        ({"keywords": {"max_failures": -2}}, "max_failures"),
        ({"keywords": {"resources_per_trial": {"CPU": -1}}}, "resources_per_trial.CPU"),
        ({"keywords": {"scheduler": population()}, "n_trials": 1}, "n_trials"),
        ({"keywords": {"scheduler": population(), "num_samples": 1}}, "num_samples"),
        ({"strategies": ["random", "pbt"], "n_trials": 1}, "n_trials"),
        ({"strategies": [{"kind": "pbt", "population": 1}]}, "strategies.0.population"),
        ({"overrides": {"budget.wall_seconds": 0}, "keywords": {"timeout": 60}}, "budget.wall_seconds"),
        ({"n_trials": None}, "n_trials"),
        ({"keywords": {"pruner": optuna.pruners.SuccessiveHalvingPruner(min_resource=9)}}, "pruner"),
    ],
)
def test_mistakes_of_the_spec_stand_under_the_keyword_that_was_written(
    arguments: Any, path: str, prepared: Any
) -> None:
    with pytest.raises(SpecError, match=r"^1 mistake in the arguments of the search:") as refused:
        prepared(**arguments)
    assert [mistake.path for mistake in refused.value.mistakes] == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"keywords": {"timeout": 60}, "budget": {"device_hours": 1}},
            r"budget: .* device_seconds, device_hours, epochs, timeout, has device_hours and timeout; keep one",
        ),
        (
            {"keywords": {"scheduler": population()}, "made": make_trainer, "epochs": 1},
            r"scheduler\.perturbation_interval: 1: must be less than epochs \(1\)",
        ),
        (
            {"keywords": {"scheduler": ASHAScheduler(grace_period=99)}, "made": trainer(BY_STEPS)},
            r"scheduler\.grace_period: 4: must be a multiple of report_every_epochs: 0\.75",
        ),
        (
            {
                "hp_space": {
                    "parameters": {"learning_rate": {"min": 1e-6, "max": 1e-4}},
                    "early_terminate": {"type": "hyperband", "eta": 1},
                }
            },
            r"hp_space\.early_terminate\.eta: 1: must be greater than 1",
        ),
        (
            {"keywords": {"storage": "postgresql://me:secret@host/db"}},
            r"storage: .*a password must not stand in a spec.*; remove it, and put the whole URL into",
        ),
    ],
)
def test_mistakes_of_the_spec_are_in_the_words_of_the_script(arguments: Any, message: str, prepared: Any) -> None:
    with pytest.raises(SpecError, match=rf"^1 mistake in the arguments of the search:\n  {message}"):
        prepared(**arguments)


def test_a_keyword_stands_for_a_key_in_a_rule_but_not_for_a_plain_word() -> None:
    rules = {
        "wall_seconds or budget.wall_seconds or wall_seconds_of": "timeout or timeout or wall_seconds_of",
        "the study store in runs: keep it here, store=sqlite:///a.db": "the study store in runs: keep it here, "
        "storage=sqlite:///a.db",
        "has the name of another": "has the name of another",
    }
    options = SearchOptions(1.0, 1.0, 4)
    options.written |= {"budget.wall_seconds": "timeout", "store": "storage", "name": "study_name"}
    for rule, told in rules.items():
        (mistake,) = in_keywords(SpecError([Mistake("store", rule, 1, rule)]), options, None, 1, {}).mistakes
        assert (mistake.path, mistake.rule, mistake.next_step) == ("storage", told, told)


def test_a_keyword_and_an_argument_that_differ_are_reported_by_the_keyword(prepared: Any) -> None:
    with pytest.raises(InputError, match=r"^timeout: 60\.0: budget\.wall_seconds is 30 in another argument"):
        prepared(keywords={"timeout": 60}, budget={"wall_seconds": 30})


def test_with_several_evaluation_sets_the_objective_is_a_metric_of_one(prepared: Any) -> None:
    sets = {"a": rows(8, 1), "b": rows(8, 2)}
    several = trainer({}, eval_dataset=sets)
    for named, objective in (("loss", {}), ("accuracy", {"objective": "accuracy", "direction": "maximize"})):
        message = rf"^objective: '{named}': each of the sets a, b has .*; write objective=\"a_{named}\""
        with pytest.raises(InputError, match=message):
            prepared(several, **objective)
    for name in ("a_loss", "eval_b_loss"):
        assert prepared(several, objective=name, direction="minimize").objective.metric == name
    assert prepared(several, compute_objective=len).objective.metric == "objective"

    class Own(Trainer):  # type: ignore[misc]
        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            return super().evaluate(*args, **kwargs)

    assert prepared(trainer({}, Own, eval_dataset=sets)).objective.metric == "loss"


def test_pbt_draws_once_what_cannot_change_in_flight(prepared: Any) -> None:
    space = {**RATE, "dropout": tune.uniform(0, 0.3), "num_train_epochs": tune.choice([3, 4])}
    made = with_dropout()
    for in_flight, changed in (((), {"learning_rate"}), (("dropout",), {"learning_rate", "dropout"})):
        spec = prepared(made, hp_space=space, strategies="pbt", in_flight=in_flight)
        assert {name for name, dimension in spec.space.items() if dimension.mutate} == changed


def test_a_strategy_that_decides_on_the_way_needs_evaluations_there(prepared: Any) -> None:
    with pytest.raises(InputError, match=r"^args\.eval_strategy: 'no': pbt decides after evaluations"):
        prepared(trainer({"eval_strategy": "no"}), strategies="pbt")
    with pytest.raises(InputError, match=r"^args\.max_steps: 3: no evaluation falls before its end, and pbt decides"):
        prepared(trainer({"max_steps": 3, "eval_strategy": "epoch"}), strategies="pbt")


def test_what_the_spec_refuses_is_reported_as_for_any_spec(prepared: Any) -> None:
    with pytest.raises(SpecError, match="learning_rate"):
        prepared(hp_space={"learning_rate": tune.uniform(-1, 1)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hp_space": {"learning_rte": 1}}, r"'learning_rte': nothing reads it.*did you mean learning_rate"),
        ({"hp_space": {"batch_size": tune.choice([8, 16])}}, "did you mean per_device_train_batch_size"),
        ({"hp_space": {"epochs": tune.choice([2, 3])}}, "did you mean num_train_epochs"),
        (
            {"hp_space": {"optim": tune.choice(["adamw_torch", "adamww_torch"])}},
            r"^space\.optim: 'adamww_torch': is none .* did you mean adamw_torch",
        ),
        ({"hp_space": {"lr_scheduler_type": tune.choice(["cosin", "linear"])}}, "did you mean cosine"),
        ({"keywords": {"n_trails": 3}}, "did you mean n_trials"),
        ({"keywords": {"freesh": True}}, "did you mean fresh"),
        ({"resume": "LOCAL"}, "^resume: 'LOCAL': must be True, False or 'AUTO'"),
        ({"keywords": {"storage": "s4://bucket/runs"}}, r"^storage: 's4://bucket/runs': must be a folder"),
        ({"keywords": {"storage": __file__}}, "^storage: .* is a file, not a folder"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    arguments: Any, message: str, prepared: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        prepared(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_is_begun_or_gone_on_with(prepared: Any, tmp_path: Path) -> None:
    begun = prepared(keywords={"name": "mine"}, resume="AUTO")
    with pytest.raises(RunFolderError, match=r"nothing to resume in .* from Python without resume=True"):
        claim_run_folder(begun, resume=True)
    claim_run_folder(begun, resume=False)
    made = trainer({"weight_decay": 0.25})  # pickled again it may be other bytes
    assert prepared(made, keywords={"name": "mine"}, resume="AUTO").trainable == begun.trainable


@pytest.mark.parametrize(
    ("metric", "arguments", "objective"),
    [
        ({"name": "eval/accuracy", "goal": "maximize"}, {}, ("eval_accuracy", "max")),
        ({"name": "eval/accuracy", "goal": "maximize"}, {"direction": "minimize"}, ("eval_accuracy", "max")),
        ({"name": "eval/accuracy"}, {"objective": {"metric": "f1", "mode": "max"}}, ("f1", "max")),
        ({"name": "eval/loss", "goal": "minimize"}, {}, ("eval_loss", "min")),
        ({"name": "objective", "goal": "maximize"}, {"compute_objective": len}, ("objective", "max")),
        (
            {"name": "objective", "goal": "minimize"},
            {"compute_objective": len, "direction": "maximize"},
            ("objective", "max"),
        ),
        ({"name": "objective", "goal": "minimize"}, {}, ("loss", "min")),
    ],
)
def test_a_sweep_says_what_it_searches_for(
    metric: Any, arguments: Any, objective: tuple[str, str], prepared: Any
) -> None:
    sweep = {"metric": metric, "parameters": {"learning_rate": {"min": 1e-5, "max": 1e-3}}}
    found = prepared(hp_space=sweep, **arguments).objective
    assert (found.metric, found.mode) == objective


def test_one_name_may_change_in_flight(prepared: Any) -> None:
    space = {**RATE, "dropout": tune.uniform(0, 0.3)}
    assert prepared(with_dropout(), hp_space=space, strategies="pbt", in_flight="dropout").in_flight == ("dropout",)


@pytest.mark.parametrize("hp_space", [suggested, computed, branching, RATE, lambda trial: RATE])
def test_a_space_is_found_again_by_the_spec(hp_space: Any, prepared: Any) -> None:
    import random

    spec = prepared(hp_space=hp_space, strategies={"kind": "random", "trials": 4})
    assert spec.space_of(spec.strategies[0]).sample(random.Random(0))


def test_the_trainable_of_the_spec_makes_the_trainer(prepared: Any) -> None:
    spec = prepared(trainer({"weight_decay": 0.25}), test_dataset=[1, 2], compute_objective=len)
    made = load_trainable(spec.trainable)({"learning_rate": 1e-4})
    assert (made.args.learning_rate, made.args.weight_decay, made.test_dataset) == (1e-4, 0.25, [1, 2])
    assert made.compute_objective is len
    assert spec.test


def test_a_factory_that_is_named_stays_a_name(prepared: Any) -> None:
    name = "tests.support.user_trainers:make_trainer"
    assert prepared(name, epochs=3).trainable == name
    assert prepared(make_trainer, epochs=3).trainable.startswith("shipped:")


def test_names_of_ones_own_are_read_by_model_init(prepared: Any) -> None:
    spec = prepared(with_dropout(), hp_space={"dropout": tune.uniform(0, 0.5)})
    assert load_trainable(spec.trainable)({"dropout": 0.4}).model.config.hidden_dropout_prob == 0.4


def test_the_storage_may_be_said_with_the_cluster(prepared: Any, tmp_path: Path) -> None:
    spec = prepared(cluster={"storage": str(tmp_path / "there")}, keywords={"storage": None})
    assert spec.cluster.storage == str(tmp_path / "there")
    assert spec.trainable.startswith(f"shipped:{tmp_path}/there/.shipped/")


def test_other_parts_of_the_spec_can_be_given(prepared: Any) -> None:
    keywords = {"timeout": 60, "n_jobs": 3, "name": "mine"}
    spec = prepared(cluster={"cpus_per_trial": 2}, overrides={"max_failures": 2}, keywords=keywords)
    assert (spec.cluster.cpus_per_trial, spec.cluster.max_concurrent, spec.max_failures) == (2, 3, 2)
    assert (spec.name, spec.budget.wall_seconds) == ("mine", 60)
