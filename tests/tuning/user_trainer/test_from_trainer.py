"""A Trainer taken apart and made again with the values of a trial: what is in force, what is refused, what stays."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import ExportableState

from tests.support.user_trainers import fresh_model, rows, tiny_model, trainer
from trainables.errors import InputError
from trainables.spec import FineTuneSpec, Objective
from trainables.user_trainer.extended import Extended
from trainables.user_trainer.hp_space import ResolvedParams
from trainables.user_trainer.rebuilt import RebuiltTrainer, texts_in
from trainables.user_trainer.shipped import load_shipped, ship
from trainables.user_trainer.user_training import UserTraining
from tuning.user_trainer.from_trainer import factory_of

pytestmark = pytest.mark.unit


def weights(made: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in made.model.parameters()])


def travelled(made: Trainer, storage: Path, **how: Any) -> RebuiltTrainer:
    """The factory of a Trainer, as a slot gets it."""
    factory: RebuiltTrainer = load_shipped(ship(factory_of(made, **how), str(storage), "trainer"))
    return factory


class Scaled(Trainer):  # type: ignore[misc]
    """A subclass with a parameter of its own, as users write them."""

    def __init__(self, *args: Any, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale


class Doubled(Trainer):  # type: ignore[misc]
    """A Trainer that keeps something else than it was given."""

    def __init__(self, *args: Any, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = 2 * scale


class Forgetful(Trainer):  # type: ignore[misc]
    """A Trainer that keeps nothing of what it was given."""

    def __init__(self, *args: Any, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Bare(Trainer):  # type: ignore[misc]
    """A constructor that takes next to nothing."""

    def __init__(self, model_init: Any, args: Any) -> None:
        super().__init__(model_init=model_init, args=args, eval_dataset=rows(8, 1), train_dataset=rows(8))


class Counting(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps += 1


class Holds(TrainerCallback):  # type: ignore[misc]
    """A callback that scores training rows by the Trainer that it holds."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.scored: list[tuple[bool, float, int]] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any, **kwargs: Any) -> None:
        before = copy.deepcopy(control)
        scores = self.held.evaluate(self.held.train_dataset, metric_key_prefix="train")
        self.scored.append((model is self.held.model, scores["train_loss"], self.held.state.global_step))
        vars(control).update(vars(before))


class Holding(Trainer):  # type: ignore[misc]
    """A Trainer whose own callback holds it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(Holds(self))


class OfModel(DataCollatorWithPadding):  # type: ignore[misc]
    """A collator that holds the model, as that of sequence-to-sequence models does."""

    model: Any = None


def test_the_copy_trains_as_the_original_does(tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 1})
    again = travelled(made, tmp_path)({})
    made.train()
    again.train()
    assert torch.equal(weights(made), weights(again))
    assert made.evaluate()["eval_loss"] == again.evaluate()["eval_loss"]


def test_a_trainer_that_was_trained_travels_and_is_left_as_it_was(tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 1})
    made.train()
    before = weights(made)
    assert not torch.equal(weights(travelled(made, tmp_path)({})), before)
    assert torch.equal(weights(made), before)
    assert made.optimizer is not None


def test_values_are_in_force_from_the_construction_on(tmp_path: Path) -> None:
    made = travelled(trainer({}), tmp_path)({"label_smoothing_factor": 0.3, "seed": 7})
    assert made.label_smoother.epsilon == 0.3
    set_seed(7)
    assert torch.equal(weights(made), torch.cat([one.detach().flatten() for one in fresh_model().parameters()]))


def test_values_that_are_not_the_trials_are_the_users(tmp_path: Path) -> None:
    factory = travelled(trainer({"weight_decay": 0.25}), tmp_path)
    first, second = factory({"weight_decay": 0.1}), factory({})
    assert (first.args.weight_decay, second.args.weight_decay) == (0.1, 0.25)


def test_the_hub_token_is_on_no_disk_and_the_users_process_keeps_it(tmp_path: Path) -> None:
    made = trainer({"hub_token": "hf_secret"})
    again = travelled(made, tmp_path)({})
    assert again.args.hub_token is None
    assert not [path for path in (tmp_path / ".shipped").iterdir() if b"hf_secret" in path.read_bytes()]
    assert factory_of(made)({}).args.hub_token == "hf_secret"  # which becomes the user's Trainer after the search
    assert made.args.hub_token == "hf_secret"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("warmup_steps", 0.1, 0.1),
        ("warmup_steps", 10, 10),
        ("per_device_train_batch_size", 8.0, 8),
        ("learning_rate", 1, 1),
        ("dataloader_drop_last", True, True),
        ("lr_scheduler_type", "cosine", "cosine"),
    ],
)
def test_a_value_has_the_type_of_its_field(name: str, value: Any, kept: Any, tmp_path: Path) -> None:
    found = getattr(travelled(trainer({}), tmp_path)({name: value}).args, name)
    assert found == kept
    assert isinstance(found, type(kept))


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("dataloader_drop_last", "false", "must be True or False"),
        ("dataloader_drop_last", 1, "must be True or False"),
        ("seed", 17.3, "must be a whole number; draw whole numbers"),
        ("learning_rate", "1e-5", "must be a number; write it without quotation marks"),
        ("learning_rate", True, "must be a number"),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_cast(name: str, value: Any, shown: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^space\.{name}: {value!r}: {shown}"):
        travelled(trainer({}), tmp_path)({name: value})


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("learnin_rate", "did you mean learning_rate"),
        ("warmup_ratio", "write warmup_steps, which below 1 is a share"),
        ("group_by_length", "train_sampling_strategy"),
    ],
)
def test_a_name_that_nothing_reads_is_refused_with_what_to_write(name: str, shown: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"'{name}': nothing reads it.*{shown}"):
        travelled(trainer({}), tmp_path)({name: 0.1})


class Distilling(TrainingArguments):  # type: ignore[misc]
    """Arguments as the book's distillation script has them: no fields."""

    def __init__(self, *args: Any, alpha: float = 0.5, temperature: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha, self.temperature = alpha, temperature
        self.share = 1 - alpha


class Rescaling(TrainingArguments):  # type: ignore[misc]
    """Arguments that change a field each time they are made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.learning_rate = 2 * self.learning_rate


class Doubling(TrainingArguments):  # type: ignore[misc]
    """Arguments that keep something else than they were given."""

    def __init__(self, *args: Any, alpha: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = 2 * alpha


class Forgetting(TrainingArguments):  # type: ignore[misc]
    """Arguments that keep nothing of what they were given."""

    def __init__(self, *args: Any, alpha: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_arguments_of_a_class_with_a_constructor_of_its_own_are_the_users(tmp_path: Path) -> None:
    made = trainer({"alpha": 0.9, "weight_decay": 0.25}, arguments=Distilling)
    made.args.temperature = 7.0
    factory = travelled(made, tmp_path)
    user, searched = factory({}).args, factory({"alpha": 0.25, "weight_decay": 0.1}).args
    assert (user.alpha, user.temperature, user.share, user.weight_decay) == (0.9, 7.0, made.args.share, 0.25)
    assert (searched.alpha, searched.temperature, searched.share, searched.weight_decay) == (0.25, 7.0, 0.75, 0.1)
    assert factory.unread(["alpha", "temperature", "alhpa"]) == ["alhpa"]


def test_attributes_that_were_set_on_the_arguments_are_the_users(tmp_path: Path) -> None:
    made = trainer({})
    made.args.alpha, made.args.weights = 0.3, torch.tensor([0.25, 0.75])
    factory = travelled(made, tmp_path)
    user, searched = factory({}).args, factory({"alpha": 0.1}).args
    assert (user.alpha, searched.alpha) == (0.3, 0.1)
    assert torch.equal(searched.weights, made.args.weights)
    assert factory_of(trainer({})).argument_attributes == {}


def test_a_field_that_the_constructor_changes_is_changed_once(tmp_path: Path) -> None:
    factory = travelled(trainer({"learning_rate": 0.25}, arguments=Rescaling), tmp_path)
    assert factory({}).args.learning_rate == 0.5
    assert factory({"learning_rate": 0.125}).args.learning_rate == 0.25  # as the class makes it of a searched one


def test_a_seed_of_a_trial_is_in_force_in_arguments_of_the_users_own(tmp_path: Path) -> None:
    made = trainer({"alpha": 0.9}, arguments=Distilling)
    spec = FineTuneSpec(trainable="m:make", epochs=1, seed=5, objective=Objective(metric="accuracy", mode="max"))
    training = UserTraining(travelled(made, tmp_path), {}, spec)
    assert (training.trainer.args.seed, training.trainer.args.alpha) == (spec.training_seeds.head, 0.9)
    assert training.trainer.args.seed != made.args.seed
    assert training.trainer.args.output_dir != made.args.output_dir


def of_params(trial: Any) -> Any:
    return tiny_model(hidden_dropout_prob=trial.params["dropout"])


def of_item(trial: Any) -> Any:
    return tiny_model(hidden_dropout_prob=trial["dropout"])


def of_get(trial: Any) -> Any:
    return tiny_model(hidden_dropout_prob=trial.get("dropout", 0.9))


def of_suggestion(trial: Any) -> Any:
    return tiny_model(hidden_dropout_prob=trial.suggest_float("dropout", 0, 0.5))


def of_all(trial: Any) -> Any:
    values = trial.params if hasattr(trial, "params") else trial
    return tiny_model(**{f"hidden_{name}_prob": value for name, value in values.items()})


def made_for(model_init: Callable[..., Any]) -> Trainer:
    """A Trainer whose `model_init` reads its trial: a first model is made without one."""
    made = trainer({"num_train_epochs": 1})
    made.model_init = model_init
    return made


@pytest.mark.parametrize("model_init", [of_params, of_item, of_get, of_suggestion, of_all])
def test_model_init_reads_an_optuna_trial(model_init: Any, tmp_path: Path) -> None:
    made = travelled(made_for(model_init), tmp_path)({"dropout": 0.4})
    assert made.model.config.hidden_dropout_prob == 0.4
    made.train()  # which calls model_init once more
    assert made.model.config.hidden_dropout_prob == 0.4


@pytest.mark.parametrize("model_init", [of_item, of_get, of_all, of_params])
def test_model_init_reads_the_dictionary_of_ray_and_wandb(model_init: Any, tmp_path: Path) -> None:
    made = travelled(made_for(model_init), tmp_path, trial_form="dict")({"dropout": 0.4})
    assert made.model.config.hidden_dropout_prob == 0.4


def test_model_init_gets_what_was_suggested_and_the_arguments_what_was_returned(tmp_path: Path) -> None:
    def of_rate(trial: Any) -> Any:
        return tiny_model(hidden_dropout_prob=-trial.params["log_rate"] / 10)

    made = travelled(made_for(of_rate), tmp_path)(ResolvedParams({"learning_rate": 1e-4}, {"log_rate": -4.0}))
    assert (made.args.learning_rate, made.model.config.hidden_dropout_prob) == (1e-4, 0.4)


def documented(trial: Any) -> Any:
    """A model of one layer."""
    return tiny_model(hidden_dropout_prob=trial["dropout"], architecture="a text of several words")


def test_texts_that_are_no_names_are_no_names() -> None:
    assert texts_in(documented) >= {"dropout"}
    assert all(text.isidentifier() for text in texts_in(documented))


def test_a_name_that_model_init_does_not_ask_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'droput': nothing reads it.*did you mean dropout"):
        travelled(made_for(of_get), tmp_path)({"droput": 0.4})


def test_model_init_cannot_ask_for_more_than_the_space_does(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model_init: 'dropout': suggests a value that hp_space does not suggest"):
        travelled(made_for(of_suggestion), tmp_path)({"learning_rate": 1e-4})


def test_a_subclass_is_made_again_with_its_own_parameter(tmp_path: Path) -> None:
    again = travelled(trainer({}, Scaled, scale=3.0), tmp_path)({})
    assert (type(again).__name__, again.scale) == ("Scaled", 3.0)


def test_what_was_set_on_the_instance_is_set_again(tmp_path: Path) -> None:
    made = trainer({})
    made.margin = 0.5
    assert travelled(made, tmp_path)({}).margin == 0.5


def test_callbacks_are_the_users_own_and_new_for_each_trial(tmp_path: Path) -> None:
    arguments = {"metric_for_best_model": "loss", "num_train_epochs": 1}
    made = trainer(arguments, callbacks=[EarlyStoppingCallback(2), Counting()])
    made.train()
    factory = factory_of(made)
    stopping = next(one for one in factory.callbacks if isinstance(one, EarlyStoppingCallback))
    assert (stopping.early_stopping_patience, stopping.early_stopping_patience_counter) == (2, 0)
    again = travelled(made, tmp_path)({}).callback_handler.callbacks
    assert sorted(type(one).__name__ for one in again) == sorted(
        type(one).__name__ for one in made.callback_handler.callbacks
    )


def held_by(made: Trainer) -> list[Any]:
    return [callback for callback in made.callback_handler.callbacks if isinstance(callback, Holds)]


def test_what_holds_the_trainer_or_its_arguments_holds_those_of_the_trial(tmp_path: Path) -> None:
    made = trainer({"learning_rate": 0.5, "num_train_epochs": 1})
    made.add_callback(Holds(made))
    arguments = made.args
    made.compute_metrics = lambda prediction: {"rate": arguments.learning_rate, "own": float(made.args is arguments)}
    made.preprocess_logits_for_metrics = functools.partial(print, made)
    made.train()  # after which a Trainer could not be pickled
    again = travelled(made, tmp_path)({"learning_rate": 0.25})
    assert again is not made
    assert [callback.held is again for callback in held_by(again)] == [True]
    assert again.preprocess_logits_for_metrics.args == (again,)
    assert again.compute_metrics(None) == {"rate": 0.25, "own": 1.0}
    assert held_by(made)[0].held is made
    assert made.args.learning_rate == 0.5
    assert sum(path.stat().st_size for path in (tmp_path / ".shipped").iterdir()) < 100_000  # it carries no weights


def test_a_callback_that_holds_the_trainer_scores_what_is_trained(tmp_path: Path) -> None:
    made = trainer({"num_train_epochs": 2})
    made.add_callback(Holds(made))
    spec = FineTuneSpec(trainable="m:make", epochs=2, seed=3, objective=Objective(metric="accuracy", mode="max"))
    training = UserTraining(travelled(made, tmp_path), {}, spec)
    reported = [training.advance(1).metrics["accuracy"] for _ in range(2)]
    scored = held_by(training.trainer)[0].scored
    made.train()
    assert scored == held_by(made)[0].scored
    assert scored[0][1] != scored[1][1]
    assert reported == [log["eval_accuracy"] for log in made.state.log_history if "eval_accuracy" in log]


def test_a_callback_that_a_constructor_adds_holds_its_own_trainer_once(tmp_path: Path) -> None:
    again = travelled(trainer({}, Holding), tmp_path)({})
    assert [callback.held is again for callback in held_by(again)] == [True]


def test_a_factory_in_the_users_process_leaves_the_users_trainer_alone() -> None:
    made = trainer({})
    model = made.model
    factory = factory_of(made)
    assert factory({"learning_rate": 0.25}) is not made
    assert (made.model, made.args.learning_rate) == (model, 5e-3)


def test_an_objective_that_holds_the_trainer_holds_that_of_the_trial(tmp_path: Path) -> None:
    made = trainer({})
    searched = Extended(factory_of(made), lambda metrics: made, None)
    again = load_shipped(ship(searched, str(tmp_path), "trainer"))({})
    assert again.compute_objective({}) is again


def test_what_holds_the_model_is_refused_with_the_path(tmp_path: Path) -> None:
    made = trainer({})
    made.add_callback(Holds(made.model))
    with pytest.raises(InputError, match=r"^trainer\.callbacks\[1\]\.held: 'Bert\w+': is the model of the Trainer"):
        ship(factory_of(made), str(tmp_path), "trainer")


def test_a_model_made_once_is_what_model_init_returns_in_the_trial_too(tmp_path: Path) -> None:
    model = tiny_model()
    made = trainer({}, model_init=lambda: model)
    made.add_callback(Holds(model))
    again = travelled(made, tmp_path)({})
    assert again.model is held_by(again)[0].held
    assert again.model is not model


class Later(EarlyStoppingCallback):  # type: ignore[misc]
    """A callback that hands on what its base takes, and keeps an argument of its own."""

    def __init__(self, *args: Any, first_epoch: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.first_epoch = first_epoch


class Renamed(EarlyStoppingCallback):  # type: ignore[misc]
    """A callback with a constructor of its own."""

    def __init__(self, patience: int = 3, first_epoch: int = 0) -> None:
        super().__init__(patience)
        self.first_epoch = first_epoch


@pytest.mark.parametrize("callback", [Later(2, first_epoch=5), Renamed(2, first_epoch=5)])
def test_a_callback_of_the_users_keeps_its_arguments_and_begins_to_count_anew(callback: Any, tmp_path: Path) -> None:
    callback.early_stopping_patience_counter = 1  # of an earlier `train()`
    made = trainer({"metric_for_best_model": "loss"}, callbacks=[callback])
    again = next(one for one in travelled(made, tmp_path).callbacks if isinstance(one, type(callback)))
    found = (again.first_epoch, again.early_stopping_patience, again.early_stopping_patience_counter)
    assert found == (5, 2, 0)
    assert callback.early_stopping_patience_counter == 1


class Told(TrainerCallback, ExportableState):  # type: ignore[misc]
    """A callback that exports a count, and arguments that its constructor does not take."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, 0

    def state(self) -> dict[str, Any]:
        return {"args": {"bound": self.limit}, "attributes": {"seen": self.seen}}


def test_a_count_that_begins_nobody_knows_where_is_refused() -> None:
    with pytest.raises(InputError, match=r"^trainer\.callbacks: Told\.seen: 0: state\(\) exports it.*Told\.from_state"):
        factory_of(trainer({}, callbacks=[Told(3)]))


def test_a_collator_that_holds_the_model_carries_no_weights() -> None:
    made = trainer({})
    made.data_collator = OfModel(tokenizer=None)
    made.data_collator.model = made.model
    factory = factory_of(made)
    assert vars(factory)["data_collator"].model is None
    assert made.data_collator.model is made.model
    again = factory({})
    assert again.data_collator.model is again.model


def without_model_init() -> Trainer:
    arguments = TrainingArguments("unused", use_cpu=True, report_to="none")
    return Trainer(model=tiny_model(), args=arguments, train_dataset=rows(8), eval_dataset=rows(8, 1))


class OfAModel(Trainer):  # type: ignore[misc]
    """A Trainer like TRL's: it takes no `model_init`."""

    def __init__(self, model: Any, args: Any) -> None:
        super().__init__(model=model, args=args, train_dataset=rows(8), eval_dataset=rows(8, 1))


def of_a_class_without_model_init() -> Trainer:
    return OfAModel(tiny_model(), TrainingArguments("unused", use_cpu=True, report_to="none"))


def without_evaluation() -> Trainer:
    made = trainer({"eval_strategy": "no"})
    made.eval_dataset = None
    return made


def with_a_method_replaced() -> Trainer:
    made = trainer({})
    made.compute_loss = lambda *args, **kwargs: 0.0
    return made


def of_a_bare_constructor() -> Trainer:
    made = Bare(fresh_model, TrainingArguments("unused", use_cpu=True, report_to="none"))
    made.compute_metrics = print
    return made


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (without_model_init, r"^trainer\.model_init: None: this Trainer was made with a model.*pass a factory"),
        (
            of_a_class_without_model_init,
            r"this OfAModel was made with a model, and each trial needs a new one; pass a f",
        ),
        (without_evaluation, r"^eval_dataset: None: the Trainer has none; pass eval_dataset="),
        (lambda: trainer({"auto_find_batch_size": True}), r"^auto_find_batch_size: True: another batch size"),
        (with_a_method_replaced, r"^trainer\.compute_loss: 'Trainer': is a method that was replaced"),
        (lambda: trainer({}, Forgetful, scale=3.0), r"^trainer\.scale: 'Forgetful': .* no attribute.*pass a factory"),
        (
            lambda: trainer({"alpha": 0.9}, arguments=Forgetting),
            r"^args\.alpha: 'Forgetting': .* no attribute of that name; keep it .*pass a factory",
        ),
        (of_a_bare_constructor, r"^trainer\.compute_metrics: 'Bare': the constructor of Bare does not take it"),
    ],
)
def test_an_instance_that_no_trial_can_be_made_like_is_refused(made: Callable[[], Trainer], shown: str) -> None:
    with pytest.raises(InputError, match=shown):
        factory_of(made())


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (lambda: trainer({}, Doubled, scale=3.0), r"^trainer\.scale: 6\.0: Doubled keeps 12\.0.*pass a factory"),
        (
            lambda: trainer({"alpha": 0.75}, arguments=Doubling),
            r"^args\.alpha: 1\.5: Doubling keeps 3\.0.*pass a factory",
        ),
    ],
)
def test_what_is_kept_as_something_else_than_was_given_is_reported_in_the_trial(
    made: Callable[[], Trainer], shown: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=shown):
        travelled(made(), tmp_path)({})
