"""Eleven searches that a user expects to do what they say; each case checks what was done.

Every case gets a `search` and an empty folder. `search(trainer, **keywords)` stands for
`trainer.hyperparameter_search(**keywords)`: that of transformers, or tunefleet's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import get_constant_schedule
from transformers.trainer_utils import BestRun

from benchmarks.silent_faults.watched import (
    EPOCHS,
    STEPS,
    Watched,
    head_of,
    make_trainer,
    steps_in,
    trainings_in,
    warm_up,
)

Search = Callable[..., BestRun]
RATES = [1e-4, 2e-4, 3e-4]


class Finding(NamedTuple):
    """The finding of one search, and whether it is right."""

    told: str
    right: bool


class Case(NamedTuple):
    """A row of the table."""

    name: str
    expected: str
    measure: Callable[[Search, Path], Finding]


CASES: dict[str, Case] = {}  # in the order of their numbers, from 1


def case(measure: Callable[[Search, Path], Finding]) -> Callable[[Search, Path], Finding]:
    """Adds a row; the function's docstring says what is expected."""
    expected = str(measure.__doc__).rstrip(".")
    CASES[measure.__name__] = Case(measure.__name__, expected, measure)
    return measure


def rate(trial: Any) -> dict[str, Any]:
    """Returns the space of searches that test something else than their space."""
    return {"learning_rate": trial.suggest_categorical("learning_rate", RATES)}


def accuracy(metrics: dict[str, float]) -> float:
    """Returns the accuracy, which a search maximises."""
    return metrics["eval_accuracy"]


@case
def seed(search: Search, folder: Path) -> Finding:
    """A searched seed is that of the model's head."""
    trainer = make_trainer(folder)
    search(trainer, hp_space=lambda trial: {"seed": trial.suggest_int("seed", 1, 9)}, n_trials=3)
    first = [training[0] for training in trainings_in(folder / "notes")]
    wrong = [step.seed for step in first if step.head != head_of(step.seed, folder / "notes")]
    return Finding(
        f"{len(first) - len(wrong)} of {len(first)} trials have the head of their seed", bool(first) and not wrong
    )


@case
def label_smoothing(search: Search, folder: Path) -> Finding:
    """A searched label_smoothing_factor smoothes labels."""

    def space(trial: Any) -> dict[str, Any]:
        return {"label_smoothing_factor": trial.suggest_float("label_smoothing_factor", 0.2, 0.3)}

    best = search(make_trainer(folder), hp_space=space, n_trials=1)
    wanted, used = best.hyperparameters["label_smoothing_factor"], steps_in(folder / "notes")[0].smoothing
    return Finding(f"{wanted:.3f} suggested, {used:.3f} in force", wanted == used)


class OwnOptimizer(Watched):
    """A Trainer with an optimizer of its own, as transformers' guide recommends it for a search."""

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Plain SGD at a constant rate."""
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.args.learning_rate)
        self.lr_scheduler = get_constant_schedule(self.optimizer)


@case
def own_optimizer(search: Search, folder: Path) -> Finding:
    """An overridden create_optimizer_and_scheduler is called."""
    search(make_trainer(folder, OwnOptimizer), hp_space=rate, n_trials=1)
    used = steps_in(folder / "notes")[0].optimizer
    return Finding(f"trained with {used}", used == "SGD")


@case
def two_at_a_time(search: Search, folder: Path) -> Finding:
    """With n_jobs=2 each of two trials makes all its steps."""
    epochs = 6
    search(make_trainer(folder, num_train_epochs=epochs), hp_space=rate, n_trials=2, n_jobs=2)
    due, made = 2 * epochs * STEPS, len(steps_in(folder / "notes"))
    return Finding(f"{made} of {due} steps", made == due)


@case
def conditional_value(search: Search, folder: Path) -> Finding:
    """A value of one branch of the space stays in that branch."""

    def space(trial: Any) -> dict[str, Any]:
        if trial.suggest_categorical("decays", [True, False]):
            return {"learning_rate": 1e-4, "weight_decay": trial.suggest_float("weight_decay", 0.2, 0.3)}
        return {"learning_rate": 2e-4}

    search(make_trainer(folder), hp_space=space, n_trials=5)
    first = [training[0] for training in trainings_in(folder / "notes")]
    without = [step for step in first if step.rate == 2e-4]
    wrong = [step for step in without if step.decay]
    return Finding(f"{len(wrong)} of {len(without)} trials without decay had one", bool(without) and not wrong)


@case
def types(search: Search, folder: Path) -> Finding:
    """A value keeps its type: warmup_steps 0.4 is a share of the steps, "false" is not True."""

    def space(trial: Any) -> dict[str, Any]:
        return {"warmup_steps": trial.suggest_float("warmup_steps", 0.3, 0.4)}

    def words(trial: Any) -> dict[str, Any]:
        return {"dataloader_drop_last": trial.suggest_categorical("dataloader_drop_last", ["false"])}

    search(make_trainer(folder), hp_space=space, n_trials=1)
    rising = warm_up(trainings_in(folder / "notes")[0])
    (folder / "notes").unlink()
    refused = refusal(search, make_trainer(folder), hp_space=words, n_trials=1)
    made = len(steps_in(folder / "notes"))
    told = f'"false": {refused or ("rows dropped" if made < STEPS * EPOCHS else "no row dropped")}'
    fifth = STEPS * EPOCHS // 5
    return Finding(f"warm-up of {rising} of {STEPS * EPOCHS} steps; {told}", rising > fifth and "rows" not in told)


@case
def unknown_name(search: Search, folder: Path) -> Finding:
    """A name that nothing consumes is refused before a trial starts."""

    def space(trial: Any) -> dict[str, Any]:
        return rate(trial) | {"hidden_dropout": trial.suggest_float("hidden_dropout", 0.1, 0.5)}

    refused = refusal(search, make_trainer(folder), hp_space=space, n_trials=1)
    trained = bool(steps_in(folder / "notes"))
    named = "hidden_dropout" in refused
    return Finding(refused or "trained without it, with a warning", named and not trained)


@case
def computed_value(search: Search, folder: Path) -> Finding:
    """BestRun.hyperparameters holds what was in force."""
    best = search(
        make_trainer(folder),
        hp_space=lambda trial: {"learning_rate": 10 ** trial.suggest_float("log_lr", -5, -4)},
        n_trials=2,
    )
    used = {step.rate for step in steps_in(folder / "notes") if step.step == 0}
    right = best.hyperparameters.get("learning_rate") in used
    return Finding(", ".join(sorted(best.hyperparameters)), right)


class Failing(Watched):
    """A Trainer whose training fails at the highest of the searched rates."""

    def training_step(self, *positional: Any, **named: Any) -> torch.Tensor:
        """One forward and backward pass."""
        if self.args.learning_rate == RATES[-1]:
            raise ArithmeticError("this rate diverges")
        return super().training_step(*positional, **named)


@case
def afterwards(search: Search, folder: Path) -> Finding:
    """Afterwards the trainer has the best model and values; a trial that fails is one trial less."""
    trainer = make_trainer(folder)
    best = search(trainer, hp_space=rate, n_trials=3, direction="maximize", compute_objective=accuracy)
    kept = trainer.model is not None and trainer.args.learning_rate == best.hyperparameters["learning_rate"]
    kept = kept and accuracy(trainer.evaluate()) == best.objective
    error = refusal(search, make_trainer(folder, Failing), hp_space=rate, n_trials=4)
    told = f"trainer.model: {type(trainer.model).__name__}; " + (
        f"the search ends with {error}" if error else "goes on"
    )
    return Finding(told, kept and not error)


class Peaked(Watched):
    """At its best after the first of two epochs."""

    def evaluate(self, *positional: Any, **named: Any) -> dict[str, float]:
        """The metrics, with a loss and a score that get worse."""
        metrics: dict[str, float] = super().evaluate(*positional, **named)
        first = (self.state.epoch or 0) <= 1
        return metrics | ({"eval_loss": 0.25, "eval_score": 0.9} if first else {"eval_loss": 0.5, "eval_score": 0.1})


@case
def best_epoch(search: Search, folder: Path) -> Finding:
    """The best evaluation counts; without compute_objective it is the loss that does."""
    trainer = make_trainer(folder, Peaked)
    keywords = {"direction": "maximize", "compute_objective": lambda metrics: metrics["eval_score"]}
    best = search(trainer, hp_space=rate, n_trials=1, **keywords).objective
    default = search(make_trainer(folder, Peaked), hp_space=rate, n_trials=1).objective
    return Finding(f"score {best:g}; default objective {default:.3g}", (best, default) == (0.9, 0.25))


@case
def exploited_rate(search: Search, folder: Path) -> Finding:
    """After an exploit of PBT the optimizer has the learning rate of the configuration."""
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    space = {"learning_rate": tune.loguniform(1e-4, 1e-2)}
    population = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=1,
        quantile_fraction=0.5,
        resample_probability=0.0,
        synch=True,
        hyperparam_mutations=space,
        metric="objective",
        mode="max",
    )
    search(
        make_trainer(folder, num_train_epochs=3, save_strategy="epoch", lr_scheduler_type="constant"),
        backend="ray",
        hp_space=lambda _: space,
        n_trials=2,
        direction="maximize",
        compute_objective=accuracy,
        scheduler=population,
        resources_per_trial={"cpu": 1},
    )
    steps = steps_in(folder / "notes")
    perturbed = {step.rate_said for step in steps} - {step.rate_said for step in steps if step.step < STEPS}
    after = [step for step in steps if step.rate_said in perturbed]
    own = sum(step.rate == step.rate_said for step in after)
    return Finding(f"{own} of {len(after)} steps after an exploit", bool(after) and own == len(after))


def refusal(search: Search, *positional: Any, **keywords: Any) -> str:
    """Returns the error of a search that should be refused, or an empty text."""
    try:
        search(*positional, **keywords)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
