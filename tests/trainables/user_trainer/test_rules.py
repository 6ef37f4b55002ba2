"""Settings of a user's Trainer that a trial replaces or refuses, row by row of the table in `rules`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback

from tests.support.user_trainer_kinds import KINDS
from tests.support.user_trainers import fresh_model, rows, trainer
from trainables.errors import InputError
from trainables.reporting import NonFiniteScore
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.rules import REPLACED, apply_rules, refusals
from trainables.user_trainer.user_training import UserTraining

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(trainable="mine:make", epochs=2, seed=3, objective=Objective(metric="accuracy", mode="max"))


def given(**args: Any) -> Callable[[Mapping[str, Any]], Trainer]:
    """A factory of Trainers with those arguments."""
    return lambda params: trainer(params, args=args)


def test_nothing_is_written_and_the_best_is_not_loaded_but_the_metric_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keeping = {"load_best_model_at_end": True, "save_strategy": "epoch", "metric_for_best_model": "accuracy"}
    training = UserTraining(given(**keeping, logging_strategy="steps", logging_steps=1), {}, SPEC)
    training.advance(1)
    training.advance(1)
    args = training.trainer.args
    assert (args.load_best_model_at_end, args.save_strategy, args.metric_for_best_model) == (False, "no", "accuracy")
    assert [file for _, _, files in os.walk(tmp_path) for file in files] == []
    assert [*Path(args.output_dir).rglob("*")] == []


def test_nothing_is_drawn_printed_or_sent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(self: Trainer, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a repository on the Hub")

    class Board(TensorBoardCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            """A TensorBoard callback without the writer, which may not be installed."""

    monkeypatch.setattr(Trainer, "init_hf_repo", no_network)
    sending = {"push_to_hub": True, "disable_tqdm": False, "logging_strategy": "steps", "logging_steps": 1}
    training = UserTraining(lambda params: trainer(params, args=sending, callbacks=[Board()]), {}, SPEC)
    training.advance(1)
    assert capsys.readouterr() == ("", "")
    assert not training.trainer.args.push_to_hub
    kinds = {type(callback) for callback in training.trainer.callback_handler.callbacks}
    assert not kinds & {Board, ProgressCallback}
    with pytest.raises(AssertionError, match="a repository on the Hub"):  # only trials are kept from it
        trainer({}, args=sending)


def test_early_stopping_ends_the_trial_as_complete() -> None:
    class NeverBetter(EarlyStoppingCallback):  # type: ignore[misc]
        """Its patience ends at the second evaluation."""

    training = UserTraining(
        lambda params: trainer(
            params,
            args={"metric_for_best_model": "same"},
            callbacks=[NeverBetter(1)],
            compute_metrics=lambda scored: {"same": 0.5, "accuracy": 0.5},
        ),
        {},
        SPEC.model_copy(update={"epochs": 4.0}),
    )
    assert [training.advance(1).epoch, training.horizon] == [1, 4]
    assert [training.advance(1).epoch, training.horizon] == [2, 2]
    assert training.trainer.seen.ended == 1


def test_a_callback_may_end_a_training_anywhere_and_it_is_scored_there() -> None:
    class Enough(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 6 or control.should_training_stop

    training = UserTraining(lambda params: trainer(params, callbacks=[Enough()]), {}, SPEC)
    assert training.advance(1).epoch == 1
    last = training.advance(1)
    assert (last.epoch, training.horizon) == (1.5, 1.5)
    assert last.metrics == training.score("validation").metrics


def test_the_epochs_are_the_experiments_or_the_trials_own() -> None:
    assert UserTraining(trainer, {}, SPEC).trainer.args.num_train_epochs == 2
    own = UserTraining(trainer, {"num_train_epochs": 1}, SPEC)
    assert (own.advance(1).epoch, own.horizon, own.trainer.args.num_train_epochs) == (1, 1, 1)


def test_evaluations_by_steps_that_miss_the_ends_of_epochs_are_where_the_trainers_own_are_and_one_at_its_end() -> None:
    training = UserTraining(trainer, {}, SPEC)
    every_third_step = 3 / 4  # of an epoch of four steps
    seen = [(training.advance(every_third_step).epoch, training.trainer.state.global_step) for _ in range(3)]
    assert seen == [(0.75, 3), (1.5, 6), (2.0, 8)]


def test_the_seed_is_the_studys_unless_it_is_searched() -> None:
    fixed = given(seed=42)
    first, same, other = (
        UserTraining(fixed, {}, SPEC.model_copy(update={"seed": seed})).advance(1).metrics for seed in (0, 0, 1)
    )
    assert first == same != other
    searched = UserTraining(fixed, {"seed": 7}, SPEC)
    assert (searched.trainer.args.seed, searched.in_force()) == (7, {"seed": 7})


def test_a_seed_of_the_order_of_rows_moves_that_alone() -> None:
    def begun(**seeds: int) -> tuple[list[int], torch.Tensor]:
        training = UserTraining(trainer, {}, SPEC.model_copy(update=seeds))
        head = training.trainer.model.classifier.weight.detach().clone()
        training.advance(1)
        return training.trainer.seen.rows, head

    (plain, head), (moved, same) = begun(), begun(data_order_seed=5)
    assert torch.equal(head, same)
    assert plain != moved == begun(data_order_seed=5)[0] != begun(data_order_seed=6)[0]


@pytest.mark.parametrize(
    ("make", "name", "told"),
    [
        (lambda params: fresh_model(), "trainable", "BertForSequenceClassification, which is no transformers.Trainer"),
        (given(auto_find_batch_size=True), "auto_find_batch_size", "search batch sizes that fit"),
        (
            lambda params: trainer(params, args={"eval_strategy": "no"}, eval_dataset=None),
            *("eval_dataset", "pass eval_dataset=, on which each trial is scored"),
        ),
    ],
)
def test_what_no_trial_can_be_made_of_is_told_with_the_next_step(make: Any, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        UserTraining(make, {}, SPEC)
    assert refused.value.name == name


@pytest.mark.parametrize("name", REPLACED)
def test_a_value_that_would_not_be_in_force_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InputError, match=rf"^space: '{name}': .*; leave it out"):
        UserTraining(lambda params: trainer({}), {name: "any"}, SPEC)


def test_every_argument_that_a_trial_replaces_is_refused_as_a_value() -> None:
    fields, replaced = dataclasses.fields(TrainingArguments), set()
    for flag in (True, False):  # a switch that a trial sets has one of the two before
        made = trainer({"save_strategy": "epoch"})
        for field in fields:
            if "bool" in str(field.type):
                setattr(made.args, field.name, flag)
        before = {field.name: getattr(made.args, field.name, None) for field in fields}
        apply_rules(made, {}, SPEC, 2.0, Path("elsewhere"))
        replaced |= {name for name, value in before.items() if getattr(made.args, name, None) != value}
    assert {"output_dir", "save_strategy", "eval_steps", "disable_tqdm", "ignore_data_skip"} <= replaced
    assert replaced <= REPLACED.keys() | {"num_train_epochs", "seed", "data_seed"}
    assert REPLACED.keys() <= {field.name for field in fields}


def test_a_train_of_ones_own_that_cannot_go_on_from_a_checkpoint_is_refused_at_once() -> None:
    class Once(Trainer):  # type: ignore[misc]
        def train(self) -> Any:
            return super().train()

    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params)
        made.__class__ = Once
        return made

    with pytest.raises(InputError, match="give it the parameter `resume_from_checkpoint=None`") as refused:
        UserTraining(make, {}, SPEC)
    assert refused.value.name == "Once.train"


@pytest.mark.parametrize("name", ["deepspeed", "fsdp"])
def test_what_shards_the_optimizer_is_refused(name: str) -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params)
        setattr(made.args, name, "full_shard" if name == "fsdp" else {"zero_optimization": {"stage": 2}})
        return made

    with pytest.raises(InputError, match="shards the optimizer") as refused:
        UserTraining(make, {}, SPEC)
    assert refused.value.name == name


@pytest.mark.parametrize(
    ("kind", "perturbed", "refused"),
    [
        ("Trainer", {"learning_rate", "weight_decay", "per_device_train_batch_size", "my_own"}, []),
        ("Trainer", {"num_train_epochs", "optim"}, ["num_train_epochs", "optim"]),
        ("EarlyStoppingCallback", {"learning_rate"}, ["EarlyStoppingCallback"]),
        ("EarlyStoppingCallback", set(), []),
        ("ReduceLROnPlateau", {"learning_rate", "weight_decay"}, ["learning_rate"]),
        ("max_steps", {"per_device_train_batch_size", "learning_rate"}, ["per_device_train_batch_size"]),
        ("IterableDataset", {"gradient_accumulation_steps"}, ["gradient_accumulation_steps"]),
    ],
)
def test_what_cannot_change_in_flight_is_known_of_the_trainer_that_a_factory_makes(
    kind: str, perturbed: set[str], refused: list[str]
) -> None:
    assert [error.name for error in refusals(KINDS[kind].make({}), perturbed)] == refused


def test_greedy_schedules_follow_scores_too() -> None:
    made = trainer({}, args={"lr_scheduler_type": "greedy", "metric_for_best_model": "accuracy"})
    assert [error.name for error in refusals(made, {"learning_rate"})] == ["learning_rate"]


def test_a_loss_that_is_not_finite_ends_the_trial() -> None:
    class Diverging(Trainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            return super().training_step(*args, **kwargs) * float("nan")

    training = UserTraining(lambda params: trainer(params, Diverging), {"learning_rate": 1e-2}, SPEC)
    with pytest.raises(NonFiniteScore, match=r"training loss is nan at epoch 1 with learning_rate=0\.01"):
        training.advance(1)


def test_metrics_are_numbers_without_prefix_and_without_what_clocks_say() -> None:
    def more(scored: Any) -> dict[str, Any]:
        return {"accuracy": 0.5, "said": "well", "count": 3}

    def several(params: Mapping[str, Any]) -> Trainer:
        return trainer(params, compute_metrics=more, eval_dataset={"near": rows(8, 1), "far": rows(8, 2)})

    one = UserTraining(lambda params: trainer(params, compute_metrics=more), {}, SPEC).advance(1)
    assert set(one.metrics) == {"accuracy", "loss", "count"}
    both = UserTraining(several, {}, SPEC).advance(1)
    assert set(both.metrics) == {f"{part}_{name}" for part in ("near", "far") for name in ("accuracy", "loss", "count")}


def test_an_objective_that_asks_for_what_is_not_told_says_what_is() -> None:
    def make(params: Mapping[str, Any]) -> Trainer:
        made = trainer(params)
        made.compute_objective = lambda metrics: metrics["eval_f1"]
        return made

    with pytest.raises(InputError, match="there are eval_loss, eval_accuracy,") as refused:
        UserTraining(make, {}, SPEC).advance(1)
    assert (refused.value.name, refused.value.value) == ("compute_objective", "eval_f1")


@pytest.mark.parametrize("asked", ["accuracy", "eval_accuracy"])
def test_the_objective_has_the_name_that_the_experiment_gave_it(asked: str) -> None:
    spec = SPEC.model_copy(update={"objective": Objective(metric=asked, mode="max")})
    assert set(UserTraining(trainer, {}, spec).advance(1).metrics) == {asked, "loss"}


def test_what_a_callback_evaluates_besides_is_not_reported() -> None:
    class Others(TrainerCallback):  # type: ignore[misc]
        """Scores other rows with the same names at each end."""

        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            self.trainer.evaluate(rows(24, 5))

        on_train_end = on_epoch_end

    def make(params: Mapping[str, Any]) -> Trainer:
        others = Others()
        others.trainer = trainer(params, callbacks=[others])
        return others.trainer

    training = UserTraining(make, {}, SPEC)
    for _ in range(2):
        told = training.advance(1).metrics
        assert told == training.score("validation").metrics


def test_what_an_overridden_evaluate_adds_is_reported() -> None:
    class More(Trainer):  # type: ignore[misc]
        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            return {**super().evaluate(*args, **kwargs), "eval_own": 7.0}

    assert UserTraining(lambda params: trainer(params, More), {}, SPEC).advance(1).metrics["own"] == 7
