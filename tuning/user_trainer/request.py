"""The arguments of `hyperparameter_search`, and the options and the factory that follow from them.

In: a `SearchRequest`. Out: `SearchOptions`, and a function that makes a Trainer from the values of a trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from trainables.errors import InputError
from trainables.lookup import load_trainable, trainable_kind
from trainables.user_trainer.rebuilt import RebuiltTrainer
from tuning.argument_checks import shortened, type_name
from tuning.space import Space
from tuning.user_trainer.from_trainer import factory_of
from tuning.user_trainer.keywords import read_keywords
from tuning.user_trainer.lengths import Lengths, evaluates_at_the_end_only, lengths_of, most_epochs
from tuning.user_trainer.objectives import named_objective, named_objectives
from tuning.user_trainer.search_options import SearchOptions
from tuning.user_trainer.strategies import made_of

BACKENDS = ("optuna", "ray", "wandb")


@dataclass(frozen=True)
class SearchRequest:
    """The arguments of `hyperparameter_search`; see there."""

    trainer: Any
    hp_space: Any
    compute_objective: Callable[[dict[str, float]], float] | None
    n_trials: int | None
    direction: Any
    backend: str | None
    objective: Any = None
    strategies: Any = None
    seeds: Sequence[int] | None = None
    budget: Mapping[str, Any] | None = None
    epochs: float | None = None
    report_every_epochs: float | None = None
    test_dataset: Any = None
    in_flight: str | Sequence[str] = ()
    resume: bool | str = False
    cluster: Mapping[str, Any] | None = None
    overrides: Mapping[str, Any] | None = None
    progress: bool = True
    keywords: Mapping[str, Any] = field(default_factory=dict)


OWN = tuple(argument.name for argument in fields(SearchRequest) if argument.name != "keywords")


def factory_of_request(trainer: Any) -> Any:
    """The factory that makes a Trainer from a trial's values.

    Raises:
        InputError: it is neither a Trainer nor a factory of Trainers.
    """
    from transformers import Trainer

    if isinstance(trainer, Trainer):
        return factory_of(trainer)
    if isinstance(trainer, str):
        if trainable_kind(trainer) != "factory":
            raise InputError("trainer", trainer, "names no factory", "write one: `def make_trainer(params)`")
        return load_trainable(trainer)
    if callable(trainer) and not isinstance(trainer, type):
        return trainer
    step = "give a transformers.Trainer with a model_init, or a function `def make_trainer(params)` that makes one"
    raise InputError("trainer", shortened(trainer), f"{type_name(trainer)} is no Trainer and makes none", step)


def read_options(request: SearchRequest, factory: Any, space: Space) -> SearchOptions:
    """The options of a search: its lengths, and what its keywords set.

    Args:
        factory: makes its Trainers.
        space: the searched space; lengths in it take the place of the arguments'.

    Raises:
        InputError: an argument or a keyword cannot be used.
    """
    lengths = _lengths(request, factory, space)
    resume, resume_if_exists = _resumed(request.resume)
    options = SearchOptions(
        *lengths, _count(request.n_trials), resume=resume, resume_if_exists=resume_if_exists, progress=request.progress
    )
    read_keywords(request.keywords, request.backend, options, own=(*OWN, "fresh"))
    if request.backend == "ray" and options.searcher is None and request.strategies is None and not options.pbt:
        options.searcher = "random"  # as Ray does without a search_alg
    if request.objective is not None:
        options.several = named_objectives(request.objective)
        options.objective = None if options.several else named_objective(request.objective)
    return options


def _resumed(resume: Any) -> tuple[bool, bool]:
    """The options `resume` and `resume_if_exists`."""
    if isinstance(resume, str):
        if resume != "AUTO":
            raise InputError("resume", resume, "must be True, False or 'AUTO'", "write one of them")
        return False, True
    return bool(resume), False


def _count(trials: Any) -> int | None:
    if trials is None or (isinstance(trials, int) and not isinstance(trials, bool) and trials >= 1):
        return trials
    step = "such as 20; None searches until a budget (timeout) is spent"
    raise InputError("n_trials", shortened(trials), "must be a whole number, at least 1", step)


def _lengths(request: SearchRequest, factory: Any, space: Space) -> Lengths:
    if isinstance(factory, RebuiltTrainer):
        arguments = request.trainer.args
        data = request.trainer.train_dataset
        rows = len(data) if hasattr(data, "__len__") else None
        lengths = lengths_of(arguments, rows, space, _processes(request), request.report_every_epochs)
    else:
        epochs = most_epochs(space, request.epochs or 0)
        if epochs <= 0:
            rule, step = "a factory does not show how long its Trainers train", "write epochs=3"
            raise InputError("epochs", request.epochs, rule, step)
        lengths = Lengths(epochs, min(1.0, epochs))
    return Lengths(request.epochs or lengths.epochs, request.report_every_epochs or lengths.report_every_epochs)


def _processes(request: SearchRequest) -> int:
    """The processes of a trial: with several GPUs one for each."""
    resources = request.keywords.get("resources_per_trial")
    asked_for = (
        {str(name).lower(): count for name, count in resources.items()} if isinstance(resources, Mapping) else {}
    )
    gpus = (request.cluster or {}).get("gpus_per_trial", asked_for.get("gpu"))
    gpus = (request.overrides or {}).get("cluster.gpus_per_trial", gpus)
    return max(1, int(gpus)) if isinstance(gpus, int | float) else 1


def require_evaluations(arguments: Any, strategies: list[dict[str, Any]], options: SearchOptions) -> None:
    """Require evaluations on the way where a strategy stops or clones trials.

    Raises:
        InputError: the arguments of the Trainer ask for an evaluation at the end only.
    """
    made = (made_of(strategy) for strategy in strategies)  # None: it is refused with the spec
    deciding = [strategy.kind for strategy in made if strategy is not None and strategy.decides_on_the_way]
    if not deciding or arguments is None:
        return
    rule = f"{options.decided_by or deciding[0]} decides after evaluations on the way"
    leave = f", or leave {options.decided_by} out" if options.decided_by else ""
    if evaluates_at_the_end_only(arguments):
        raise InputError("args.eval_strategy", "no", rule, f'set eval_strategy="epoch" (or "steps"){leave}')
    if options.pbt and options.report_every_epochs >= options.epochs and arguments.max_steps <= 0:
        step = f'set eval_strategy="steps" and eval_steps, or train for more epochs{leave}'
        value = arguments.num_train_epochs
        raise InputError("args.num_train_epochs", value, f"no evaluation falls before its end, and {rule}", step)
    if arguments.max_steps > 0 and options.report_every_epochs >= options.epochs:
        step = f'set eval_strategy="steps" and eval_steps to less than {arguments.max_steps}'
        raise InputError("args.max_steps", arguments.max_steps, f"no evaluation falls before its end, and {rule}", step)
